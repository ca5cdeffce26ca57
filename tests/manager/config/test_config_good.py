"""What a correct file becomes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from xds.config import StandaloneConfig, composer, load, standalone
from xds.registry.gateway import Gateway
from xds.registry.settings import Settings
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId

GOOD = Path(__file__).parent / "good.yaml"


def a(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


ENV = {
    "DATABASE_URL": "postgres://db/orders?sslmode=off",
    "RETRIES": "010",
    "VERBOSE": "yes",
    "RATIO": "1.10",
    "SINCE": "2024-01-01",
    "AT": "12:30",
    "EMPTY": "",
    "TEXT": "two\nlines\n",
}
ORDERS = Workload(
    WorkloadId("dev", "statefulset", "orders"),
    (
        Port(8080, "http", AppProtocol.HTTP),
        Port(9090, "grpc-api", AppProtocol.GRPC),
        Port(5432, "db", AppProtocol.TCP),
        Port(53, "dns", AppProtocol.UDP),
        Port(7000),
    ),
    ENV,
    {
        "orders-0": Instance(
            "orders-0",
            {8080: a("127.0.0.1:21081"), 9090: a("127.0.0.1:21091"), 5432: a("0.0.0.0:21032"), 7000: a("[::1]:21000")},
            {8080: a("127.0.0.1:21181"), 9090: a("127.0.0.1:21191"), 5432: a("10.0.0.7:5432"), 7000: a("[::1]:21100")},
        ),
        "orders-1.dev": Instance(
            "orders-1.dev",
            {
                8080: a("127.0.0.2:21081"),
                9090: a("127.0.0.2:21091"),
                5432: a("127.0.0.2:21033"),
                7000: a("127.0.0.2:21000"),
            },
            {
                8080: a("127.0.0.2:21181"),
                9090: a("127.0.0.2:21191"),
                5432: a("10.0.0.8:5432"),
                7000: a("127.0.0.2:21100"),
            },
        ),
    },
)


def test_everything_that_a_file_can_say() -> None:
    assert load(GOOD) == StandaloneConfig(
        listen=a("127.0.0.1:15011"),
        users=("alice", "bob.b", "no", "carol", "dave"),
        settings=Settings(
            connection_ttl=8 * 3600.0,
            inactive_block_timeout=5400.0,
            allow_global_intercepts=False,
            default_header="x-user",
        ),
        workloads=(
            ORDERS,
            Workload(
                WorkloadId("default", "deployment", "orders"),
                (Port(80, "https", AppProtocol.TLS),),
                {**ENV, "VERBOSE": "false"},
            ),
            # An appProtocol that another vendor defined counts before the port's name.
            Workload(WorkloadId("default", "deployment", "1234"), (Port(8081, "http", AppProtocol.UNKNOWN),)),
        ),
        gateways=(
            Gateway("gw-1", a("127.0.0.1:21443"), a("127.0.0.1:21444")),
            Gateway("2", a("192.0.2.7:443"), a("[::1]:21444")),
        ),
        namespaces={"alice": ("dev", "test"), "carol": ()},
        monitoring=a("0.0.0.0:15014"),
    )


def test_libyaml_reads_what_pyyaml_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = load(GOOD)
    monkeypatch.setattr(composer, "FAST_FROM", 0)
    assert load(GOOD) == slow


def test_defaults_of_a_file_with_workloads_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    path = tmp_path / "byway.yaml"
    path.write_text("workloads: []\n")
    assert load(path) == StandaloneConfig(Address("127.0.0.1", 15010), ("carol",), Settings(), ())


def test_the_documented_file_is_correct(tmp_path: Path) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text("".join(row + "\n" for row in (standalone.__doc__ or "").splitlines() if row.startswith("    ")))
    config = load(path)
    assert config.users == ("alice", "bob")
    assert config.namespaces == {"bob": ("dev",)}
    assert [gateway.name for gateway in config.gateways] == ["gw-1"]
    assert config.workloads[0].env["RETRIES"] == "3"
    assert config.workloads[0].instances["orders-1"].app == {8080: Address("127.0.0.1", 21181)}


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "byway.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.read_bytes())
    assert load(path) == load(GOOD)


def test_the_manager_may_leave_its_port_to_the_system(tmp_path: Path) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text('listen: "[::1]:0"\nusers: [alice]\nworkloads: []\n')
    assert load(path).listen == Address("::1", 0)


def test_the_configuration_can_not_be_changed() -> None:
    config = load(GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.users = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.workloads[0].env["X"] = "y"  # type: ignore[index]


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ("port: 1, name: http2-api", AppProtocol.HTTP2),
        ("port: 1, name: grpc", AppProtocol.GRPC),
        ("port: 1, name: grpc-web", AppProtocol.HTTP),
        ("port: 1, name: grpc-web-x", AppProtocol.HTTP),
        ("port: 1, name: tcp-x", AppProtocol.TCP),
        ("port: 1, name: redis", AppProtocol.TCP),
        ("port: 1, name: tls-x", AppProtocol.TLS),
        ("port: 1, name: udp-x", AppProtocol.UNKNOWN),
        ("port: 1, name: httpd", AppProtocol.UNKNOWN),
        ("port: 1, name: web-http", AppProtocol.UNKNOWN),
        ("port: 1, name: http, appProtocol: h2c", AppProtocol.HTTP2),
        ("port: 1, appProtocol: kubernetes.io/h2c", AppProtocol.HTTP2),
        ("port: 1, appProtocol: kubernetes.io/wss", AppProtocol.TLS),
        ("port: 1, appProtocol: HTTPS", AppProtocol.TLS),
        ("port: 1, appProtocol: Grpc", AppProtocol.GRPC),
        ("port: 1, appProtocol: https, protocol: udp", AppProtocol.UDP),
    ],
)
def test_what_a_port_speaks(tmp_path: Path, port: str, protocol: AppProtocol) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text(f"users: [alice]\nworkloads: [{{name: orders, ports: [{{{port}}}]}}]\n")
    assert load(path).workloads[0].ports[0].protocol is protocol
