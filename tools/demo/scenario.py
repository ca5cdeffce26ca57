"""The demonstration, step by step. Every request goes through the sidecars of real Envoys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from demo.processes import wait_for
from demo.show import Hop, Stage
from demo.world import Answer, Laptop, World, free_port, listening, request

IDLE_SECONDS = 4
"""`intercept.inactiveBlockTimeout` in the demonstration: ten minutes would be a long pause."""

FRONTEND = Hop(("frontend-1",))
ORDERS = Hop(("orders-1", "orders-2"))
PAYMENTS = Hop(("payments-1",))
CLUSTER = (FRONTEND, ORDERS, PAYMENTS)


@dataclass(slots=True)
class Developer:
    """A developer, their laptop, the port of their process and the value of their header."""

    laptop: Laptop
    port: int
    header: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The user's name."""
        return self.laptop.user

    @property
    def process(self) -> str:
        """The name of their process."""
        return f"{self.name}-laptop"


class Scenario:
    """Runs the steps in a world that is up."""

    def __init__(self, world: World, stage: Stage) -> None:
        self.world = world
        self.stage = stage
        self.alice = Developer(world.laptop("alice"), preferred(9101))
        self.bob = Developer(world.laptop("bob"), preferred(9102))
        self.carol = Developer(world.laptop("carol"), preferred(9103))

    def run(self) -> None:
        """Every step."""
        self.ordinary_traffic()
        alices = self.first_intercept()
        self.second_intercept(alices)
        self.path_intercept()
        self.laptop_dies(alices)
        self.conflict_and_take_over(alices)
        self.manager_dies(alices)
        self.revoke()
        self.leave_and_quit(alices)

    # What the steps are made of

    def ask(self, path: str, headers: dict[str, str], *expected: Hop) -> None:
        """A request to the frontend's sidecar."""
        self.stage.request(path, headers, self.answer(path, headers), expected)

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        """What the frontend's sidecar answers."""
        return request(self.world.port("frontend"), path, headers)

    def byway(self, who: Developer, *arguments: str, fails_with: int = 0) -> str:
        """A command on somebody's laptop; its exit code is compared too."""
        done = who.laptop.byway(*arguments, check=False)
        said = done.stdout + done.stderr
        self.stage.command(who.name, ["byway", *arguments], said)
        self.stage.expect(done.returncode == fails_with, f"exit code {done.returncode}, expected {fails_with}")
        return said

    def connect(self, who: Developer, *flags: str) -> None:
        """Connect a laptop and learn its header."""
        self.stage.command(who.name, ["byway", "connect", *flags], who.laptop.connect(*flags))
        key = who.laptop.json("status")["key"]
        who.header = {key["name"]: key["value"]}

    def start_process(self, who: Developer, service: str) -> None:
        """The developer's own version of a service."""
        self.world.start_service(who.process, service, who.port)
        self.stage.command(who.name, ["./my-" + service, "--port", str(who.port)])

    def intercept_id(self, who: Developer, name: str) -> str:
        """The id of somebody's intercept."""
        found: list[dict[str, Any]] = who.laptop.json("list", "--intercepts")["intercepts"]
        return next((one["id"] for one in found if one["name"] == name), "none")

    def laptop_hop(self, who: Developer, intercept: str) -> Hop:
        """That a laptop answers."""
        return Hop((who.process,), intercept, "laptop")

    # The steps

    def ordinary_traffic(self) -> None:
        self.stage.step("Ordinary traffic", "frontend calls orders (two instances), orders calls payments.")
        self.ask("/", {}, *CLUSTER)
        self.ask("/", {}, *CLUSTER)

    def first_intercept(self) -> str:
        self.stage.step(
            "alice intercepts her own requests to orders",
            "Her laptop can only call out, so it holds a tunnel to the gateway; bob's will be reached directly.",
        )
        self.connect(self.alice)
        said = self.byway(self.alice, "status")
        self.stage.expect("by tunnel" in said, "requests reach alice's laptop through the gateway")
        self.start_process(self.alice, "orders")
        self.byway(self.alice, "intercept", "orders", "--port", str(self.alice.port), "--http-header", "auto")
        alices = self.intercept_id(self.alice, "orders")
        self.stage.step("The same request with and without her header")
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)
        self.ask("/", {}, *CLUSTER)
        said = self.byway(self.alice, "requests", "orders", "--wait-for", "1")
        self.stage.expect("laptop" in said, "alice sees her request, and that her laptop answered it")
        return alices

    def second_intercept(self, alices: str) -> None:
        self.stage.step("bob intercepts the same service beside her")
        self.connect(self.bob, "--reach", "direct")
        self.start_process(self.bob, "orders")
        self.byway(self.bob, "intercept", "orders", "--port", str(self.bob.port), "--http-header", "auto")
        bobs = self.intercept_id(self.bob, "orders")
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)
        self.ask("/", self.bob.header, FRONTEND, self.laptop_hop(self.bob, bobs), PAYMENTS)
        self.ask("/", {}, *CLUSTER)
        name, value = next(iter(self.bob.header.items()))
        baggage = {"baggage": f"team=blue,{name}={value}"}
        self.ask("/", baggage, FRONTEND, self.laptop_hop(self.bob, bobs), PAYMENTS)

    def path_intercept(self) -> None:
        self.stage.step("bob also takes everybody's refunds from payments", "A path is enough; no header is needed.")
        port = preferred(9104)
        self.world.start_service("bob-payments", "payments", port)
        refunds = ("--http-header", "all", "--http-path-prefix", "/refunds")
        self.byway(self.bob, "intercept", "payments", "--port", str(port), *refunds)
        taken = self.intercept_id(self.bob, "payments")
        self.ask("/refunds/17", {}, FRONTEND, ORDERS, Hop(("bob-payments",), taken, "laptop"))
        self.ask("/invoices/17", {}, *CLUSTER)
        self.byway(self.bob, "leave", "payments")
        self.ask("/refunds/17", {}, *CLUSTER)

    def laptop_dies(self, alices: str) -> None:
        self.stage.step("alice's process dies", "kill -9, and the very next request is answered by the cluster.")
        self.world.processes.kill(self.alice.process)
        for _ in range(3):
            cluster = Hop(("orders-1", "orders-2"), alices, "cluster")
            self.ask("/", self.alice.header, FRONTEND, cluster, PAYMENTS)
        self.stage.step("alice's process is back")
        self.start_process(self.alice, "orders")
        self.wait_until_answered(self.alice)
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)

    def wait_until_answered(self, who: Developer) -> None:
        """Until somebody's header leads to their laptop."""
        wait_for(
            lambda: who.process in self.answer("/", who.header).instances, f"{who.name}'s laptop answers", seconds=10
        )

    def conflict_and_take_over(self, alices: str) -> None:
        self.stage.step("carol wants the very same requests", "Refused, with the owner and a request for both.")
        self.connect(self.carol, "--reach", "direct")
        self.start_process(self.carol, "orders")
        name, value = next(iter(self.alice.header.items()))
        wish = ("intercept", "orders", "--port", str(self.carol.port), "--http-header", f"{name}={value}")
        self.byway(self.alice, "status")
        said = self.byway(self.carol, *wish, fails_with=4)
        self.stage.expect("alice@" in said, "the conflict names its owner")
        self.stage.expect(value in said, "the conflict shows a request")
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)
        self.stage.step(f"alice does nothing for {IDLE_SECONDS} s, and carol tries again")
        wait_for(lambda: self.idle(alices) > IDLE_SECONDS, "alice is idle", seconds=30)
        self.byway(self.carol, *wish)
        carols = self.intercept_id(self.carol, "orders")
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.carol, carols), PAYMENTS)
        said = self.byway(self.alice, "status")
        self.stage.expect("displaced" in said, "alice sees that hers was displaced")
        self.stage.step("carol leaves, and alice has hers back")
        self.byway(self.carol, "leave", "orders")
        self.wait_until_answered(self.alice)
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)

    def idle(self, intercept: str) -> float:
        """How long the owner of an intercept has been idle, as another one sees it."""
        found = self.carol.laptop.json("list", "--all")["intercepts"]
        return next(float(one["owner_idle_seconds"]) for one in found if one["id"] == intercept)

    def manager_dies(self, alices: str) -> None:
        self.stage.step("The manager is killed with -9", "Sidecars go on with what they have.")
        self.world.processes.kill("manager")
        laptop = self.laptop_hop(self.alice, alices)
        self.ask("/", self.alice.header, FRONTEND, laptop, PAYMENTS)
        self.ask("/", {}, *CLUSTER)
        self.stage.step("The manager is back")
        self.world.start_manager()
        wait_for(self.alice.laptop.connected, "alice is connected again")
        self.ask("/", self.alice.header, FRONTEND, laptop, PAYMENTS)

    def revoke(self) -> None:
        self.stage.step("An administrator revokes bob's intercept")
        wait_for(self.bob.laptop.connected, "bob is connected again")
        bobs = self.intercept_id(self.bob, "orders")
        arguments = ["revoke", bobs, "--reason", "load test at noon"]
        token = ["--admin-token-file", str(self.world.admin_token), "--manager", self.world.listen]
        done = self.bob.laptop.byway(*arguments, *token, check=False)
        self.stage.command("admin", ["byway", *arguments], done.stdout + done.stderr)
        self.stage.expect(done.returncode == 0, f"revoke ended with {done.returncode}")
        wait_for(lambda: "bob-laptop" not in self.answer("/", self.bob.header).instances, "bob's intercept is gone")
        self.ask("/", self.bob.header, *CLUSTER)
        said = self.byway(self.bob, "status")
        self.stage.expect("load test at noon" in said, "bob is told why")

    def leave_and_quit(self, alices: str) -> None:
        self.stage.step("leave and quit")
        self.ask("/", self.alice.header, FRONTEND, self.laptop_hop(self.alice, alices), PAYMENTS)
        self.byway(self.alice, "leave", "orders")
        self.ask("/", self.alice.header, *CLUSTER)
        for one in (self.alice, self.bob, self.carol):
            self.byway(one, "quit")
        self.ask("/", self.bob.header, *CLUSTER)


def preferred(port: int) -> int:
    """The port, or a free one where somebody has it."""
    return free_port() if listening(port) else port
