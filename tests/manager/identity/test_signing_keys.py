"""Keys that sign laptops' tokens: they come and go without a gap, outlive restarts, and are in one private file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from xds.manager.identity import keys as keys_module
from xds.manager.identity.errors import IdentityError
from xds.manager.identity.keys import AUDIENCE, ISSUER, SigningKeys
from xds.manager.identity.rotation import KEPT, LEAD, PERIOD, TOKEN_SECONDS, Keys, SigningKey, advance, signer

START = 1_800_000_000.0
NODE = "s-1.0123abcd"
PRIVATE = ec.generate_private_key(ec.SECP256R1())


class Wall:
    """A wall clock."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity" / "keys.json"


@pytest.fixture
def keys(path: Path, wall: Wall) -> SigningKeys:
    return SigningKeys(path, wall)


def published(keys: SigningKeys) -> dict[str, jwt.PyJWK]:
    return {one["kid"]: jwt.PyJWK(one) for one in json.loads(keys.jwks())["keys"]}


def checked(keys: SigningKeys, token: str, wall: Wall) -> dict[str, Any]:
    """As a gateway checks a token: by the published key that its header names."""
    key = published(keys)[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER, options={"verify_exp": False}
    )
    assert claims["exp"] >= wall.now - 1
    return claims


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_a_token_says_whose_tunnel_it_is_for_and_how_long(keys: SigningKeys, wall: Wall) -> None:
    token, seconds = keys.sign(NODE, ["dev", "test"])
    assert seconds == TOKEN_SECONDS <= 600
    assert checked(keys, token, wall) == {
        "iss": "byway",
        "aud": "byway-tunnel",
        "sub": NODE,
        "ns": "dev test",
        "exp": START + seconds,
    }
    assert jwt.get_unverified_header(token)["alg"] == "ES256"


def test_a_token_without_a_node_is_never_signed(keys: SigningKeys) -> None:
    with pytest.raises(ValueError, match="name a node"):
        keys.sign("", ["*"])


def test_only_public_halves_are_published(keys: SigningKeys) -> None:
    for one in json.loads(keys.jwks())["keys"]:
        assert sorted(one) == ["alg", "crv", "kid", "kty", "use", "x", "y"]


def test_the_file_is_private_and_the_same_keys_sign_after_a_restart(path: Path, keys: SigningKeys, wall: Wall) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = SigningKeys(path, wall)
    assert again.jwks() == keys.jwks()
    token, _ = keys.sign(NODE, ["*"])
    assert checked(again, token, wall)["sub"] == NODE


def test_the_next_key_is_published_an_hour_before_it_signs(keys: SigningKeys, wall: Wall) -> None:
    first = kid(keys.sign(NODE, ["*"])[0])
    wall.now = START + PERIOD - LEAD
    assert keys.advance()
    assert len(published(keys)) == 2
    assert kid(keys.sign(NODE, ["*"])[0]) == first
    wall.now = START + PERIOD
    assert not keys.advance()
    assert kid(keys.sign(NODE, ["*"])[0]) != first


def test_the_old_key_stays_until_what_it_signed_has_expired(keys: SigningKeys, wall: Wall) -> None:
    wall.now = START + PERIOD - LEAD
    keys.advance()
    wall.now = START + PERIOD - 1
    last, seconds = keys.sign(NODE, ["*"])
    wall.now += seconds
    keys.advance()
    assert checked(keys, last, wall)["sub"] == NODE
    wall.now = START + PERIOD + KEPT
    assert keys.advance()
    assert kid(last) not in published(keys)


def test_a_manager_that_was_away_for_days_first_publishes_the_next_key(
    path: Path, keys: SigningKeys, wall: Wall
) -> None:
    first = kid(keys.sign(NODE, ["*"])[0])
    wall.now += 10 * PERIOD
    again = SigningKeys(path, wall)
    assert kid(again.sign(NODE, ["*"])[0]) == first
    assert len(published(again)) == 2
    wall.now += LEAD
    assert kid(again.sign(NODE, ["*"])[0]) != first


def test_what_cannot_be_kept_is_not_used(keys: SigningKeys, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    before = keys.jwks()
    wall.now += PERIOD
    with monkeypatch.context() as patch:
        patch.setattr(keys_module, "write_private", full)
        with pytest.raises(OSError, match="No space"):
            keys.advance()
    assert keys.jwks() == before
    assert keys.advance()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"keys": []}', '{"keys": [{"id": "a", "signs_from": 1}]}', '{"keys": [{"id": "a", "key": "x"}]}'],
)
def test_a_damaged_file_is_named_and_left_as_it_is(path: Path, keys: SigningKeys, wall: Wall, text: str) -> None:
    path.write_text(text)
    with pytest.raises(IdentityError, match="holds no signing keys") as caught:
        SigningKeys(path, wall)
    assert str(path) in str(caught.value)
    assert path.read_text() == text


def test_a_key_is_in_no_text_that_stands_for_it(keys: SigningKeys) -> None:
    assert "PRIVATE" not in f"{keys!r} {SigningKey('a', 1.0, PRIVATE)!r}"


# The rules, over any course of time

Steps = st.lists(st.floats(min_value=1.0, max_value=3 * PERIOD), min_size=1, max_size=30)


class Ring:
    """Keys as the manager holds them, with what gateways were told and when."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: Keys = ()
        self.told: dict[str, float] = {}

    def at(self, now: float) -> None:
        self.keys = advance(self.keys, now, self._make)
        for key in self.keys:
            self.told.setdefault(key.id, now)

    def _make(self, signs_from: float) -> SigningKey:
        self.count += 1
        return SigningKey(f"k{self.count}", signs_from, PRIVATE)


@given(Steps)
def test_every_token_is_good_until_it_expires_and_signed_by_a_key_that_gateways_knew(steps: list[float]) -> None:
    ring, now = Ring(), START
    tokens: list[tuple[str, float]] = []
    for step in steps:
        # The manager looks every second: that is often enough for nothing to be missed in between.
        for moment in (now, now + min(step, LEAD / 2)):
            ring.at(moment)
            key = signer(ring.keys, moment)
            assert ring.told[key.id] <= moment - LEAD or key.id == "k1"
            tokens.append((key.id, moment + TOKEN_SECONDS))
            known = {one.id for one in ring.keys}
            assert all(name in known for name, expires in tokens if expires >= moment)
        now += step
    assert len(ring.keys) <= 3


@given(Steps, st.floats(min_value=0.0, max_value=100 * PERIOD))
def test_a_clock_that_is_set_back_never_stops_the_rotation(steps: list[float], back: float) -> None:
    ring, now = Ring(), START
    for step in steps:
        ring.at(now)
        now += step
    ring.at(now)
    now -= back
    first = {one.id for one in ring.keys}
    for _ in range(int(3 * PERIOD / LEAD)):
        ring.at(now)
        assert signer(ring.keys, now) in ring.keys
        now += LEAD
    assert signer(ring.keys, now).id not in first
