"""A small world on one machine: a manager, workloads with real Envoy sidecars, laptops. The demonstration and the
end-to-end tests live in it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from demo.processes import Processes, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
BYWAY = [str(Path(sys.executable).with_name("byway"))]
XDSCTL = [str(Path(sys.executable).with_name("xdsctl"))]
SERVICE = [sys.executable, str(Path(__file__).with_name("service.py"))]


def free_port() -> int:
    """A TCP port on loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def hops(self) -> list[dict[str, Any]]:
        """Who answered, from the first service on; the first one's status and intercept come from its headers."""
        found: list[dict[str, Any]] = json.loads(self.body).get("hops", [])
        if found:
            found[0] |= {"status": self.status, "intercept": self.headers.get("x-byway-intercept", "")}
        return found

    @property
    def instances(self) -> list[str]:
        """The names of those who answered."""
        return [hop["instance"] for hop in self.hops]


def request(
    port: int,
    path: str = "/",
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    timeout: float = 20.0,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@dataclass(slots=True)
class Instance:
    """One running copy of a workload: the port of its sidecar and that of the app behind it."""

    id: str
    sidecar: int = field(default_factory=free_port)
    app: int = field(default_factory=free_port)


@dataclass(slots=True)
class Gateway:
    """A gateway: the port that laptops dial, and that for sidecars."""

    name: str
    tunnel: int = field(default_factory=free_port)
    sidecars: int = field(default_factory=free_port)

    @property
    def process(self) -> str:
        """Its name among the processes."""
        return f"gateway-{self.name}"


@dataclass(slots=True)
class Workload:
    """A workload of the world; `calls` names the one that it asks."""

    name: str
    instances: list[Instance]
    calls: str = ""
    env: dict[str, str] = field(default_factory=dict)
    protocol: str = "http"

    @property
    def id(self) -> str:
        """NAMESPACE/KIND/NAME"""
        return f"dev/deployment/{self.name}"


def chain() -> list[Workload]:
    """frontend → orders (two instances) → payments."""
    return [
        Workload("frontend", [Instance("frontend-1")], calls="orders"),
        Workload(
            "orders",
            [Instance("orders-1"), Instance("orders-2")],
            calls="payments",
            env={"DATABASE_URL": "postgres://orders-db/orders", "LOG_LEVEL": "info"},
        ),
        Workload("payments", [Instance("payments-1")]),
    ]


@dataclass(slots=True)
class Laptop:
    """A developer's laptop: a state directory of its own, and `byway` in it."""

    world: World
    user: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that runs there."""
        return {**os.environ, "BYWAY_STATE": str(self.state), "USER": self.user, "NO_COLOR": "1"}

    @property
    def state(self) -> Path:
        """The laptop's state directory."""
        return self.world.root / self.user

    def byway(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command there. Raises CalledProcessError with its output where it fails and `check` is set."""
        done = subprocess.run(
            [*BYWAY, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str) -> Any:
        """Run a command with `-o json` and read what it says."""
        return json.loads(self.byway(*arguments, "-o", "json").stdout)

    def connect(self, *arguments: str) -> str:
        """Connect to the world's manager."""
        manager = self.world.state / "manager"
        token = manager / "users" / f"{self.user}.token"
        address = (manager / "address").read_text().strip()
        host = f"{self.user}-laptop"
        return self.byway(
            "connect", "--manager", address, "--token-file", str(token), "--host", host, *arguments
        ).stdout

    def connected(self) -> bool:
        """Whether the daemon has a session with the manager right now."""
        done = self.byway("status", "-o", "json", check=False)
        return done.returncode == 0 and json.loads(done.stdout)["state"] == "connected"

    @property
    def daemon_pid(self) -> int:
        """The daemon's process id."""
        return int(self.json("status")["daemon"]["pid"])


@dataclass(slots=True)
class World:
    """Everything, in one directory."""

    root: Path
    workloads: list[Workload] = field(default_factory=chain)
    users: tuple[str, ...] = ("alice", "bob")
    settings: dict[str, Any] = field(default_factory=dict)
    gateways: list[Gateway] = field(default_factory=list)
    processes: Processes = field(init=False)
    laptops: dict[str, Laptop] = field(default_factory=dict)
    listen: str = ""

    def __post_init__(self) -> None:
        self.processes = Processes(self.root / "logs")
        self.listen = f"127.0.0.1:{free_port()}"

    @property
    def state(self) -> Path:
        """The state directory of manager and sidecars."""
        return self.root / "cluster"

    @property
    def file(self) -> Path:
        """The standalone manager's file."""
        return self.root / "byway.yaml"

    def workload(self, name: str) -> Workload:
        """A workload by name."""
        return next(one for one in self.workloads if one.name == name)

    def port(self, name: str, number: int = 0) -> int:
        """The port of the sidecar in front of a workload's instance."""
        return self.workload(name).instances[number].sidecar

    def write_file(self) -> None:
        """Write the standalone manager's file."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(self._content(), sort_keys=False))

    def _content(self) -> dict[str, Any]:
        return {
            "listen": self.listen,
            "users": list(self.users),
            "settings": self.settings,
            "gateways": [
                {
                    "name": one.name,
                    "tunnel": f"127.0.0.1:{one.tunnel}",
                    "sidecars": f"127.0.0.1:{one.sidecars}",
                }
                for one in self.gateways
            ],
            "workloads": [
                {
                    "name": one.name,
                    "namespace": "dev",
                    "ports": [{"name": "web", "port": 8080, "appProtocol": one.protocol}]
                    if one.protocol
                    else [{"port": 8080}],
                    "env": one.env,
                    "instances": [
                        {
                            "id": instance.id,
                            "listen": {8080: f"127.0.0.1:{instance.sidecar}"},
                            "app": {8080: f"127.0.0.1:{instance.app}"},
                        }
                        for instance in one.instances
                    ],
                }
                for one in self.workloads
            ],
        }

    def start(self) -> None:
        """Start everything but the laptops, and return when requests pass through every sidecar."""
        self.write_file()
        self.start_manager()
        for gateway in self.gateways:
            self.start_gateway(gateway)
        for workload in self.workloads:
            for instance in workload.instances:
                self.start_service(instance.id, workload.name, instance.app)
                self.start_sidecar(workload, instance)
        for workload in reversed(self.workloads):
            for instance in workload.instances:
                self.wait_for_sidecar(instance)
        for gateway in self.gateways:
            self.wait_for_gateway(gateway)

    def start_manager(self) -> None:
        """Start the manager and wait until it serves."""
        address = self.state / "manager" / "address"
        address.unlink(missing_ok=True)
        self.processes.start(
            "manager", [*BYWAY, "manager", "--standalone", str(self.file), "--state-dir", str(self.state)]
        )
        self._wait("manager", address.exists)

    def start_service(self, instance: str, service: str, port: int, calls: str | None = None) -> None:
        """Start a service's process; on a laptop it stands in for the service and asks the same next one."""
        known = next((one for one in self.workloads if one.name == service), None)
        following = calls if calls is not None else known.calls if known else ""
        urls = [f"http://127.0.0.1:{one.sidecar}" for one in self.workload(following).instances] if following else []
        command = [*SERVICE, "--service", service, "--instance", instance, "--listen", f"127.0.0.1:{port}"]
        self.processes.start(instance, [*command, "--next", ",".join(urls)])
        self._wait(instance, lambda: listening(port))

    def start_sidecar(self, workload: Workload, instance: Instance) -> None:
        """Start the sidecar in front of an instance."""
        self.processes.start(
            f"{instance.id}-sidecar",
            [
                *BYWAY,
                *("sidecar", "--workload", workload.id, "--instance", instance.id),
                *("--concurrency", "1", "--state-dir", str(self.state)),
            ],
        )

    def start_gateway(self, gateway: Gateway) -> None:
        """Start a gateway."""
        self.processes.start(gateway.process, [*BYWAY, "gateway", gateway.name, "--state-dir", str(self.state)])

    def wait_for_gateway(self, gateway: Gateway) -> None:
        """Wait until laptops and sidecars can dial it."""
        self._wait(gateway.process, lambda: listening(gateway.tunnel) and listening(gateway.sidecars))

    def wait_for_sidecar(self, instance: Instance) -> None:
        """Wait until it has its listener and its routes."""
        self._wait(f"{instance.id}-sidecar", lambda: listening(instance.sidecar))

    def _wait(self, name: str, condition: Any) -> None:
        def ready() -> bool:
            self.processes.check(name)
            return bool(condition())

        wait_for(ready, f"{name} (see {self.root / 'logs' / name}.log)")

    def laptop(self, user: str) -> Laptop:
        """A developer's laptop."""
        return self.laptops.setdefault(user, Laptop(self, user))

    @property
    def admin_token(self) -> Path:
        """The administrator's token."""
        return self.state / "manager" / "admin.token"

    def xdsctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the xDS debugging tool as the administrator."""
        env = {**os.environ, "BYWAY_STATE": str(self.state), "NO_COLOR": "1"}
        return subprocess.run([*XDSCTL, *arguments], env=env, capture_output=True, text=True, check=check, timeout=60)

    def stop(self) -> None:
        """End every process of the world."""
        for laptop in self.laptops.values():
            for number in laptop_pids(laptop):
                os.kill(number, signal.SIGCONT)
            laptop.byway("quit", check=False)
            for number in laptop_pids(laptop):
                os.kill(number, signal.SIGKILL)
        self.processes.stop_all()


def laptop_pids(laptop: Laptop) -> list[int]:
    """The daemon of a laptop, if it runs."""
    try:
        number = int((laptop.state / "laptop" / "daemon.pid").read_text())
        os.kill(number, 0)
    except (OSError, ValueError):
        return []
    return [number]
