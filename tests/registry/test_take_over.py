"""Conflicts, take-over, displacement and restoring, told as stories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.registry.office import CARTS, Office, header, path, personal, whole
from xds.registry import intercepts
from xds.registry.change import EventKind
from xds.registry.errors import AlreadyExistsError, ConflictError, InvalidError, NotAllowedError
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, Kind
from xds.registry.match import Op
from xds.registry.settings import Settings

A = personal(header("x-user", "a"))
B = personal(header("x-user", "b"))


@pytest.fixture
def office() -> Office:
    office = Office()
    for user in ("ann", "bob", "cat"):
        office.connect(user)
    return office


class TestWhoMay:
    def test_an_active_owner_blocks(self, office: Office) -> None:
        office.create("ann", A)
        office.wait(600)
        with pytest.raises(ConflictError):
            office.create("bob", A)

    def test_an_inactive_owner_is_taken_over_in_the_same_step(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(600.1)
        his = office.create("bob", A)
        assert (office.routed(), office.displaced()) == ([his], [hers])

    def test_one_active_owner_among_idle_ones_blocks_and_nobody_is_displaced(self, office: Office) -> None:
        hers = office.create("ann", A)
        its = office.create("cat", B)
        office.wait(601)
        office.active("cat")
        with pytest.raises(ConflictError) as caught:
            office.create("bob", whole())
        assert caught.value.conflict.intercept == its
        assert office.routed() == sorted([hers, its])

    def test_the_unit_is_the_whole_intercept(self, office: Office) -> None:
        office.create("ann", personal(header("x-user", "a"), ports=(80, 81)))
        with pytest.raises(ConflictError) as caught:
            office.create("bob", personal(header("x-user", "a"), ports=(81, 82)))
        assert caught.value.conflict.port == 81
        office.wait(601)
        his = office.create("bob", personal(header("x-user", "a"), ports=(81, 82)))
        assert office.routed() == [his], "all of its ports are displaced"

    def test_nobody_conflicts_with_a_ghost_of_himself(self, office: Office) -> None:
        office.connect("bob", host="old", key="s-old", present=False)
        his = office.create("bob", A, session="s-old")
        with pytest.raises(ConflictError, match="bob@old already takes"):
            office.create("ann", A)
        again = office.create("bob", A)
        assert (office.routed(), office.displaced()) == ([again], [his])
        office.leave(again)
        assert office.routed() == [his]

    def test_ones_own_laptop_that_is_there_blocks(self, office: Office) -> None:
        office.connect("bob", host="tower", key="s-tower")
        office.create("bob", A, session="s-tower")
        with pytest.raises(ConflictError, match="it is you, on host tower"):
            office.create("bob", A)

    def test_an_idle_owner_keeps_the_intercept_until_somebody_needs_it(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(20 * 3600)
        office.active("bob")
        assert office.routed() == [hers]

    def test_another_port_or_workload_is_nobodys_business(self, office: Office) -> None:
        office.create("ann", A)
        office.create("bob", personal(header("x-user", "a"), ports=(81,)))
        office.create("cat", personal(header("x-user", "a"), workload=CARTS))
        assert len(office.routed()) == 3

    def test_no_second_intercept_of_the_same_name(self, office: Office) -> None:
        office.create("ann", A)
        with pytest.raises(AlreadyExistsError, match="'orders' already.*byway leave orders.*--name"):
            office.create("ann", personal(header("x-user", "z"), ports=(81,)))

    def test_ones_own_is_in_the_way_even_of_oneself(self, office: Office) -> None:
        office.create("ann", A)
        with pytest.raises(ConflictError, match=r"your own intercept 'orders' .*`byway leave orders` ends it"):
            office.create("ann", replace(A, name="again"))


class TestGlobal:
    @pytest.mark.parametrize(
        "spec",
        [
            whole(),
            whole(shared=True),
            whole(kind=Kind.REPLACE),
            personal(),
            personal(path("/")),
            personal(path("^/", Op.REGEX)),
        ],
        ids=["global", "shared", "replace", "all", "every path", "an expression for every path"],
    )
    def test_where_global_ones_are_not_allowed_nothing_takes_every_request(self, spec: InterceptSpec) -> None:
        office = Office(Settings(allow_global_intercepts=False))
        office.connect("ann")
        with pytest.raises(NotAllowedError, match=r"intercept\.allowGlobalIntercepts.*--http-header auto"):
            office.create("ann", spec)
        office.create("ann", personal(path("/api")))

    def test_a_global_one_excludes_everybody(self, office: Office) -> None:
        office.create("ann", whole())
        for spec in (A, personal(path("/api")), whole(), whole(shared=True)):
            with pytest.raises(ConflictError):
                office.create("bob", spec)

    def test_a_shared_one_leaves_to_personal_ones_what_they_claim(self, office: Office) -> None:
        office.create("ann", A)
        office.create("bob", whole(shared=True))
        office.create("cat", B)
        assert len(office.routed()) == 3
        with pytest.raises(ConflictError):
            office.create("cat", whole(shared=True, name="another"))


class TestDisplaced:
    def test_it_says_by_whom_and_since_when_and_its_owner_is_told(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(700)
        his = office.create("bob", A)
        displaced = office.state.intercept(hers)
        assert displaced.displaced is not None
        assert (displaced.displaced.intercept, displaced.displaced.owner) == (his, "bob@lap")
        assert displaced.displaced.since == office.now
        assert "bob@lap" in displaced.reason
        assert office.told(EventKind.INTERCEPT_DISPLACED) == [(EventKind.INTERCEPT_DISPLACED, "ann")]

    def test_it_comes_back_when_what_took_its_place_ends(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        office.leave(his)
        assert office.routed() == [hers]
        assert office.state.intercept(hers).displaced is None
        assert office.told(EventKind.INTERCEPT_RESTORED) == [(EventKind.INTERCEPT_RESTORED, "ann")]

    @pytest.mark.parametrize("how", ["quit", "expire", "reject"])
    def test_it_comes_back_however_that_ends(self, office: Office, how: str) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        if how == "quit":
            office.quit("bob")
        elif how == "expire":
            office.wait(23 * 3600)
            office.active("ann", "cat")
            office.wait(3601)
        else:
            office.do(intercepts.reject(office.state, his, "no"))
        assert office.routed() == [hers]

    def test_it_comes_back_whoever_idles(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        office.wait(20 * 3600)
        office.leave(his)
        assert office.routed() == [hers]

    def test_restoring_never_displaces(self, office: Office) -> None:
        hers = office.create("ann", personal(header("x-user", "^[ab]$", Op.REGEX)))
        office.wait(601)
        his = office.create("bob", A)
        its = office.create("cat", B)
        office.wait(20 * 3600)
        office.leave(his)
        assert (office.routed(), office.displaced()) == ([its], [hers]), "however idle who is in the way"
        office.leave(its)
        assert office.routed() == [hers]

    def test_several_come_back_in_the_order_of_their_creation(self, office: Office) -> None:
        first = office.create("ann", A)
        office.wait(601)
        second = office.create("bob", A)
        office.wait(601)
        third = office.create("cat", A)
        assert office.displaced() == sorted([first, second])
        office.leave(third)
        assert (office.routed(), office.displaced()) == ([first], [second])
        office.leave(first)
        assert office.routed() == [second]

    def test_what_is_displaced_no_longer_keeps_an_older_one_away(self, office: Office) -> None:
        old = office.create("ann", personal(path("/a")))
        office.wait(601)
        middle = office.create("bob", whole())
        office.wait(601)
        new = office.create("cat", personal(path("/b")))
        assert (office.routed(), office.displaced()) == (sorted([old, new]), [middle])

    def test_reclaiming_has_the_rights_of_a_newcomer_and_no_more(self, office: Office) -> None:
        office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        with pytest.raises(ConflictError, match="bob@lap"):
            office.create("ann", A)
        assert len(office.displaced()) == 1, "a refused attempt loses nothing"
        office.wait(601)
        mine = office.create("ann", A)
        assert (office.routed(), office.displaced()) == ([mine], [his])
        numbers = [office.state.intercept(key).sequence for key in (his, mine)]
        assert numbers == sorted(numbers)

    def test_reclaiming_may_ask_for_something_else(self, office: Office) -> None:
        office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        mine = office.create("ann", B)
        assert office.routed() == sorted([his, mine])
        assert not office.displaced()

    def test_running_it_again_replaces_a_rejected_one(self, office: Office) -> None:
        office.do(intercepts.reject(office.state, office.create("ann", A), "no"))
        mine = office.create("ann", A)
        assert office.routed() == [mine]
        assert list(office.state.intercepts) == [mine]


class TestCreationThatFails:
    def test_what_it_displaced_is_back(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        office.cancel(office.create("bob", A))
        assert office.routed() == [hers]
        assert list(office.state.intercepts) == [hers]

    def test_a_reclaim_that_fails_gives_back_both_places(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        former = office.state.intercept(hers)
        office.wait(601)
        office.cancel(office.create("ann", A), former)
        assert (office.routed(), office.displaced()) == ([his], [hers])
        assert office.state.intercept(hers) == former

    def test_a_reclaim_that_fails_comes_back_if_nothing_keeps_it_away_by_now(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        former = office.state.intercept(hers)
        other = office.create("ann", B)
        office.leave(his)
        office.cancel(other, former)
        assert office.routed() == [hers]

    def test_it_comes_back_too_where_the_attempt_was_for_another_workload(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        former = office.state.intercept(hers)
        elsewhere = office.create("ann", personal(header("x-user", "a"), workload=CARTS))
        office.leave(his)
        office.cancel(elsewhere, former)
        assert office.routed() == [hers]

    def test_a_refused_one_keeps_its_text_and_what_it_displaced_is_back(self, office: Office) -> None:
        hers = office.create("ann", A)
        office.wait(601)
        his = office.create("bob", A)
        office.do(intercepts.reject(office.state, his, "bad regex"))
        refused = office.state.intercept(his)
        assert (refused.disposition, refused.reason) == (Disposition.REJECTED, "bad regex")
        assert office.routed() == [hers]


class TestWords:
    """Each refusal names owner, port, id, idle time, witness, and what to do."""

    def refusal(self, office: Office, spec: InterceptSpec, *, session: str = "") -> str:
        with pytest.raises(ConflictError) as caught:
            office.create("bob", spec, session=session)
        return str(caught.value)

    def test_somebody_elses(self, office: Office) -> None:
        office.create("ann", personal(header("x-user", "a"), name="hers"))
        office.wait(180)
        assert self.refusal(office, A) == (
            "ann@lap already takes such requests on port 80 of dev/deployment/orders with intercept 'hers' "
            "(id i-ann-1, idle for 3 min). Both would take: GET / with x-user: a. "
            "Narrow yours with another --http-header or path. "
            "Ask ann to `byway leave hers`; an administrator can `byway revoke i-ann-1`. "
            "Or wait: after 7 min more without activity there, running this again takes over."
        )

    def test_ones_own_on_another_host(self, office: Office) -> None:
        office.connect("bob", host="tower", key="s-tower")
        office.create("bob", personal(header("x-user", "a"), name="mine"), session="s-tower")
        office.wait(60)
        assert self.refusal(office, A) == (
            "intercept 'mine' already takes such requests on port 80 of dev/deployment/orders: "
            "it is you, on host tower (id i-bob-1, idle for 1 min). Both would take: GET / with x-user: a. "
            "Narrow yours with another --http-header or path. `byway leave mine` on tower ends it. "
            "Or wait: after 9 min more without activity there, running this again takes over."
        )

    def test_ones_own_in_this_session(self, office: Office) -> None:
        office.create("bob", personal(header("x-user", "a"), name="mine"))
        assert self.refusal(office, A) == (
            "your own intercept 'mine' already takes such requests on port 80 of dev/deployment/orders "
            "(id i-bob-1, idle for 0 s). Both would take: GET / with x-user: a. `byway leave mine` ends it."
        )

    def test_a_global_one_leaves_nothing_to_narrow(self, office: Office) -> None:
        office.create("ann", whole())
        text = self.refusal(office, A)
        assert "Narrow" not in text
        assert "Ask ann to `byway leave orders`" in text
        assert "Both would take: GET / with x-user: a." in text

    def test_a_global_newcomer_is_told_of_shared(self, office: Office) -> None:
        office.create("ann", A)
        assert "With --shared yours leaves to personal intercepts what they claim." in self.refusal(office, whole())

    def test_beside_a_shared_one_a_personal_one_fits(self, office: Office) -> None:
        office.create("ann", whole(shared=True))
        text = self.refusal(office, whole())
        assert "Each takes all of the port." in text
        assert "--http-header auto" in text

    def test_on_a_tcp_port_nobody_is_told_of_headers(self, office: Office) -> None:
        office.create("ann", whole(ports=(5432,), shared=True))
        assert "--http" not in self.refusal(office, whole(ports=(5432,)))

    def test_the_wait_is_for_the_last_of_all_in_the_way(self, office: Office) -> None:
        office.create("ann", A)
        office.wait(300)
        office.create("cat", B)
        text = self.refusal(office, whole())
        assert "'orders' (and 1 more)" in text
        assert "after 10 min more" in text


class TestInvalid:
    @pytest.mark.parametrize(
        ("spec", "error", "words"),
        [
            (replace(A, ports=()), InvalidError, "--port: an intercept needs at least one port"),
            (replace(A, ports=A.ports * 2), InvalidError, "--port: the same port of the workload is named twice"),
            (personal(header("a", "b"), ports=(99,)), InvalidError, r"has no port 99; its ports are 80 \(http\), 81"),
            (whole(ports=(53,)), InvalidError, r"53 \(dns\) of .* is UDP"),
            (personal(header("a", "b"), ports=(443,)), InvalidError, "ends TLS in the app"),
            (personal(header("a", "b"), ports=(5432,)), InvalidError, "declared tcp, not HTTP"),
        ],
    )
    def test_is_refused_with_the_reason(
        self, office: Office, spec: InterceptSpec, error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            office.create("ann", spec)
        assert not office.state.intercepts

    def test_a_whole_tls_or_tcp_port_can_be_taken(self, office: Office) -> None:
        office.create("ann", whole(ports=(443, 5432)))
        assert len(office.routed()) == 1


def test_a_store_that_lost_what_was_in_the_way_keeps_nobody_away(office: Office) -> None:
    hers = office.create("ann", A)
    office.wait(601)
    his = office.create("bob", A)
    lost: dict[str, Intercept | None] = {his: None}
    office.state.apply(replace(intercepts.restore(office.state), intercepts=lost))
    office.do(intercepts.restore(office.state))
    assert office.routed() == [hers]
