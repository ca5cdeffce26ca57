"""The file of `byway manager --standalone FILE.yaml`: Byway without Kubernetes, on one machine.

    listen: 127.0.0.1:15010       # where the manager listens, for users and sidecars; loopback only, since standalone
                                  # mode has no TLS; port 0 lets the system choose; this is the default
    monitoring: 127.0.0.1:15014   # where /metrics, /healthz and /readyz are served over HTTP, read-only and to anybody;
                                  # any address, port 0 lets the system choose; off by default
    users:                        # who gets a token; default: the operating system's user
      - alice
      - {name: bob, namespaces: [dev]}      # may reach the services of these namespaces alone; default: of all
    gateways:                     # where laptops that can only call out are reached; without any, at their addresses
      - name: gw-1                # a DNS-1123 label
        tunnel: 127.0.0.1:21443   # where laptops dial it
        sidecars: 127.0.0.1:21444 # … and where sidecars do
    settings:                     # nested or with dots; see xds/config/settings.py
      intercept: {inactiveBlockTimeout: 10m, allowGlobalIntercepts: true, defaultHeader: x-telepresence-id}
      grpc.connectionTTL: 24h
    workloads:                    # the only key that must be there
      - name: orders              # a DNS-1123 label
        namespace: dev            # default: default
        kind: Deployment          # in any letter case; or StatefulSet, DaemonSet, ReplicaSet, Pod; this is the default
        ports:
          - name: http            # an IANA service name; optional
            port: 8080            # what the rest of the cluster knows the port by
            appProtocol: http     # http, http2, h2c, grpc, grpc-web, tcp, https, tls, ws, wss, kubernetes.io/h2c …;
                                  # else taken from the name (grpc-orders); else Byway looks at the first bytes
            protocol: TCP         # or UDP, which is listed but never intercepted
        env: {DATABASE_URL: "postgres://db/orders", RETRIES: 3}    # values are kept as written
        instances:
          - id: orders-1          # as a pod's name
            listen: {http: 127.0.0.1:21081}     # per port (its name or number): where the sidecar accepts connections
            app: {http: 127.0.0.1:21181}        # … and where the app itself listens

Every TCP port of a workload has an address in `listen` and `app` of each instance; no two addresses in the file are the
same. Addresses are IP addresses: Envoy's endpoints take no names. YAML aliases and `<<` work.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from xds.config.addresses import AddressBook, read_manager, read_monitoring
from xds.config.gateways import read_gateways
from xds.config.nodes import Context, StopReadingError
from xds.config.problems import ConfigError, shown
from xds.config.reader import Value
from xds.config.settings import read_settings
from xds.config.source import read_tree
from xds.config.users import USER_NAME, read_users
from xds.config.workloads import read_workloads
from xds.registry.gateway import Gateway
from xds.registry.settings import Settings
from xds.registry.workload import Address, Workload

T = TypeVar("T")
DEFAULT_LISTEN: Final = Address("127.0.0.1", 15010)

FILE: Final = {
    "listen": "the address where the manager listens",
    "monitoring": "the address where metrics and health are served",
    "users": "a list of names",
    "gateways": "a list of gateways",
    "settings": "a mapping of settings",
    "workloads": "a list of workloads",
}


@dataclass(frozen=True, slots=True)
class StandaloneConfig:
    """What a standalone file says, checked."""

    listen: Address
    users: tuple[str, ...]
    settings: Settings
    workloads: tuple[Workload, ...]
    monitoring: Address | None = None
    gateways: tuple[Gateway, ...] = ()
    namespaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By user, the namespaces whose services they may reach through a gateway; of who isn't here, all."""

    @property
    def instance_count(self) -> int:
        """Instances of all workloads."""
        return sum(len(workload.instances) for workload in self.workloads)


def load(path: Path) -> StandaloneConfig:
    """Read and check a standalone file.

    Raises ConfigError, and nothing else, with every problem found: in the file's syntax, in its values, or with
    reading it at all.
    """
    return read_file(path, lambda file: config_of(file, file.fields(FILE, required=("workloads",))))


def read_file(path: Path, read: Callable[[Value], T]) -> T:
    """Read a file with a function that reports what is wrong with it. Raises ConfigError, and nothing else."""
    context = Context(str(path))
    root = read_tree(path, context)
    found = []
    if root is not None:
        try:
            found.append(read(Value.root(context, root)))
        except StopReadingError:
            assert context.problems
    if not found or context.problems:
        raise ConfigError(context.problems)
    return found[0]


def config_of(file: Value, fields: Mapping[str, Value]) -> StandaloneConfig:
    """What the keys of a standalone file say; what is wrong is reported."""
    book = AddressBook()
    listen = read_manager(fields["listen"]) if "listen" in fields else DEFAULT_LISTEN
    if listen is not None:
        book.claim(listen, fields.get("listen", file))
    monitoring = read_monitoring(fields["monitoring"]) if "monitoring" in fields else None
    if monitoring is not None:
        book.claim(monitoring, fields["monitoring"])
    users = read_users(fields["users"]) if "users" in fields else dict.fromkeys(_os_user(file))
    gateways = read_gateways(fields["gateways"], book) if "gateways" in fields else ()
    settings = read_settings(fields["settings"]) if "settings" in fields else Settings()
    workloads = read_workloads(fields["workloads"], book) if "workloads" in fields else ()
    return StandaloneConfig(
        listen or DEFAULT_LISTEN,
        tuple(users),
        settings,
        workloads,
        monitoring,
        gateways,
        MappingProxyType({user: limits for user, limits in users.items() if limits is not None}),
    )


def _os_user(file: Value) -> tuple[str, ...]:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""  # a container's user id without an entry in /etc/passwd
    if not USER_NAME.fullmatch(name):
        found = f"no such key, and {shown(name) if name else 'no name'} for the operating system's user"
        file.context.report(file.mark, "users", FILE["users"], found, "add “users: [NAME]”")
    return (name,)
