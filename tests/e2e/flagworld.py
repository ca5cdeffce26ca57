"""A world for the flags of `byway intercept`: workloads with all kinds of ports, and processes that name themselves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.world import BYWAY, Instance, Laptop, Workload, World, free_port
from tests.e2e.pipe import Server, Stream

ENVIRONMENT = {
    "DATABASE_URL": "postgres://db/orders?a=1",
    "GREETING": 'it\'s a "test" $HOME',
    "EMPTY": "",
    "LINES": "a\nb",
}


@dataclass(slots=True)
class Port:
    """A port of a workload: with a sidecar and an app where it has an app."""

    number: int
    name: str
    protocol: str = "http"
    app: Server | None = None
    sidecar: int = field(default_factory=free_port)

    def ask(self, *headers: str, path: str = "/", method: str = "GET") -> tuple[str, str]:
        """Send a request; returns who answered, and what `x-byway-intercept` says."""
        head = [f"{method} {path} HTTP/1.1", "Content-Length: 0"]
        if not any(header.lower().startswith("host:") for header in headers):
            head.append("Host: shop")
        return self.send("\r\n".join([*head, *headers, "", ""]).encode("utf-8", "surrogateescape"))

    def send(self, request: bytes) -> tuple[str, str]:
        """The same, with the request as bytes."""
        client = Stream.to(self.sidecar)
        with client.socket:
            client.send(request)
            head, _, body = client.message(bodiless=request.startswith(b"HEAD ")).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        return body.decode(), fields.get(b"x-byway-intercept", b"").decode()


def server(name: str, host: str = "127.0.0.1") -> Server:
    """A process that answers with its name."""
    one = Server(host)
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()

    def serve(stream: Stream) -> None:
        request = stream.message(bodiless=False)
        stream.send(answer.partition(name.encode())[0] if request.startswith(b"HEAD ") else answer)

    one.serve = serve
    return one


@dataclass(slots=True)
class FlagWorld(World):
    """dev/shop (two HTTP ports), dev/only and staging/only (one), dev/mixed (ports of every protocol, no instance)."""

    ports: dict[str, list[Port]] = field(default_factory=dict)

    def _content(self) -> dict[str, Any]:
        content = super(FlagWorld, self)._content()
        content["workloads"] = [
            {
                "namespace": key.partition("/")[0],
                "name": key.partition("/")[2],
                "ports": [_declared(port) for port in ports],
                "env": ENVIRONMENT,
                "instances": [
                    {
                        "id": f"{key.replace('/', '-')}-1",
                        "listen": {port.number: f"127.0.0.1:{port.sidecar}" for port in ports},
                        "app": {port.number: f"127.0.0.1:{port.app.port}" for port in ports if port.app},
                    }
                ]
                if any(port.app for port in ports)
                else [],
            }
            for key, ports in self.ports.items()
        ]
        return content


def _declared(port: Port) -> dict[str, Any]:
    declared = {"port": port.number, "name": port.name} if port.name else {"port": port.number}
    if port.protocol == "udp":
        return declared | {"protocol": "UDP"}
    return declared | ({"appProtocol": port.protocol} if port.protocol else {})


@contextmanager
def flag_world(root: Path, *users: str, workloads: dict[str, list[Port]] | None = None) -> Iterator[FlagWorld]:
    """The world, up, with these users connected; `workloads` are others than its own."""
    http = workloads or {
        "dev/shop": [Port(8080, "web", app=server("app")), Port(8081, "admin", app=server("app-admin"))],
        "dev/only": [Port(80, "http", app=server("only-dev"))],
        "staging/only": [Port(80, "http", app=server("only-staging"))],
    }
    mixed = [Port(6379, "redis", "tcp"), Port(8443, "secure", "https"), Port(53, "dns", "udp"), Port(9000, "", "")]
    world = FlagWorld(root, users=users, ports={"dev/mixed": mixed, **http})
    try:
        world.write_file()
        world.start_manager()
        for key, ports in http.items():
            namespace, _, name = key.partition("/")
            instance = Instance(f"{namespace}-{name}-1", sidecar=ports[-1].sidecar)
            workload = _Named(name, [instance], namespace=namespace)
            world.start_sidecar(workload, instance)
            workload.instances[0] = instance
        for key, ports in http.items():
            world.wait_for_sidecar(Instance(f"{key.replace('/', '-')}-1", sidecar=ports[-1].sidecar))
        for user in users:
            world.laptop(user).connect()
        yield world
    finally:
        world.stop()
        for ports in http.values():
            for port in ports:
                if port.app:
                    port.app.close()


@dataclass(slots=True)
class _Named(Workload):
    namespace: str = "dev"

    @property
    def id(self) -> str:
        return f"{self.namespace}/deployment/{self.name}"


def start(laptop: Laptop, *arguments: str) -> subprocess.Popen[str]:
    """Start a command on a laptop and return while it runs."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*BYWAY, *arguments], env=laptop.env, stdout=pipe, stderr=pipe, stdin=pipe, text=True)


def intercepts(laptop: Laptop) -> list[dict[str, Any]]:
    """Everybody's intercepts, without what changes by itself."""
    found: list[dict[str, Any]] = json.loads(laptop.byway("list", "--all", "-o", "json").stdout)["intercepts"]
    return [{key: value for key, value in one.items() if key != "owner_idle_seconds"} for one in found]


def names(those: Sequence[dict[str, Any]]) -> list[str]:
    """The names of intercepts."""
    return sorted(one["name"] for one in those)
