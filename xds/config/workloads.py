"""The list `workloads` of the standalone file: workloads, their ports, environment and instances."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from xds.config.addresses import AddressBook, read_app, read_listener
from xds.config.problems import did_you_mean, shown
from xds.config.protocols import APP_PROTOCOLS, by_app_protocol, by_port_name
from xds.config.reader import Value, listed
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId

KINDS: Final = ("deployment", "statefulset", "daemonset", "replicaset", "pod")

WORKLOAD: Final = {
    "name": "the name of the workload",
    "namespace": "a namespace",
    "kind": f"one of {listed(KINDS)}",
    "ports": "a list of ports, each with “port” and, if you like, “name”",
    "env": "a mapping from names to values",
    "instances": "a list of instances, each with “id”, “listen” and “app”",
}
PORT: Final = {
    "name": "the name of the port",
    "port": "a number from 1 to 65535",
    "protocol": "TCP or UDP",
    "appProtocol": f"one of {listed(APP_PROTOCOLS)}",
}
INSTANCE: Final = {
    "id": "the name of this instance",
    "listen": "a mapping from ports to the addresses where this instance's sidecar accepts connections",
    "app": "a mapping from ports to the addresses where the app listens",
}

# https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports: an IANA service name.
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
# A pod's name: DNS-1123 labels with dots between them.
_INSTANCE_ID: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/: ASCII without “=”;
# and without blanks, which no shell could name.
_ENV_NAME: Final = re.compile(r"[!-<>-~]+")


class Once:
    """Refuses a value that was there before."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._seen: dict[object, Value] = {}

    def add(self, key: object, value: Value, *, hint: str = "") -> bool:
        """Note `key`, which stands at `value`; reports it and answers False when it isn't the first."""
        first = self._seen.setdefault(key, value)
        if first is not value:
            where = f"line {first.node.mark.line} has it already"
            value.fail(f"{self._noun} of its own", hint=f"{where}; {hint}" if hint else where)
        return first is value


def read_workloads(value: Value, book: AddressBook) -> tuple[Workload, ...]:
    """The workloads; those that have problems are left out, and the problems reported."""
    once = Once("a namespace, kind and name")
    read = (_workload(item, once, book) for item in value.items("a list of workloads"))
    return tuple(workload for workload in read if workload is not None)


def _workload(value: Value, once: Once, book: AddressBook) -> Workload | None:
    before = len(value.context.problems)
    fields = value.fields(WORKLOAD, required=("name", "ports"))
    name = fields["name"].label("the name of the workload") if "name" in fields else None
    namespace = fields["namespace"].label("a namespace") if "namespace" in fields else "default"
    kind = _kind(fields["kind"]) if "kind" in fields else "deployment"
    workload_id = WorkloadId(namespace, kind, name) if namespace and kind and name else None
    if workload_id is not None:
        once.add(workload_id, fields["name"], hint="two instances of one workload belong into its list “instances”")
    env = _env(fields["env"]) if "env" in fields else {}
    before_ports = len(value.context.problems)
    ports = _ports(fields["ports"]) if "ports" in fields else ()
    # Which ports an instance leaves out can't be said before it is known which there are.
    known = ports if "ports" in fields and len(value.context.problems) == before_ports else None
    instances = _instances(fields["instances"], known, book) if "instances" in fields else {}
    if workload_id is None or len(value.context.problems) > before:
        return None
    return Workload(workload_id, ports, MappingProxyType(env), MappingProxyType(instances))


def _kind(value: Value) -> str | None:
    kind = value.text(WORKLOAD["kind"])
    if kind is None:
        return None
    if kind.lower() not in KINDS:
        value.fail(WORKLOAD["kind"], hint=did_you_mean(kind, KINDS))
        return None
    return kind.lower()


def _env(value: Value) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, item in value.entries(WORKLOAD["env"]).items():
        if not _ENV_NAME.fullmatch(name):
            hint = "visible ASCII without “=”"
            item.fail_key("the name of an environment variable", found=f"the key {shown(name)}", hint=hint)
        text = item.text("a text (for an empty one write '')")
        if text is None:
            continue
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            # Not shown: environments hold passwords.
            item.fail("a text that an environment can hold", found="one with a NUL or half a surrogate pair")
        env[name] = text
    return env


def _ports(value: Value) -> tuple[Port, ...]:
    numbers, names = Once("a number"), Once("a name")
    ports: list[Port] = []
    items = value.items(WORKLOAD["ports"])
    for item in items:
        fields = item.fields(PORT, required=("port",))
        number = fields["port"].port_number() if "port" in fields else None
        name = _port_name(fields["name"]) if "name" in fields else ""
        if number is not None:
            # Kubernetes lets TCP and UDP share a number.
            hint = "an intercept names the number alone, TCP and UDP can't share one" if "protocol" in fields else ""
            numbers.add(number, fields["port"], hint=hint)
        if name:
            names.add(name, fields["name"])
        protocol = _protocol(fields, name or "")
        if number is not None and name is not None:
            ports.append(Port(number, name, protocol))
    if not items and value.is_list:
        value.fail("at least one port", found="an empty list")
    return tuple(ports)


def _port_name(value: Value) -> str | None:
    expected = "a port's name: at most 15 lower-case letters, digits and single inner hyphens, with a letter"
    name = value.text(expected)
    if name is None:
        return None
    if len(name) > 15 or not _PORT_NAME.fullmatch(name):
        value.fail(expected)
        return None
    return name


def _protocol(fields: dict[str, Value], name: str) -> AppProtocol:
    declared = AppProtocol.UNKNOWN
    if "appProtocol" in fields:
        value = fields["appProtocol"]
        text = value.text(PORT["appProtocol"])
        known = by_app_protocol(text) if text is not None else AppProtocol.UNKNOWN
        if text is not None and known is None:
            value.fail(PORT["appProtocol"], hint=did_you_mean(text, APP_PROTOCOLS))
        declared = known or AppProtocol.UNKNOWN
    else:
        declared = by_port_name(name)
    if "protocol" in fields:
        transport = fields["protocol"].text(PORT["protocol"])
        if transport is not None and transport.upper() == "UDP":
            return AppProtocol.UDP
        if transport is not None and transport.upper() != "TCP":
            hint = "what the port speaks on top of TCP is its “appProtocol”" if by_app_protocol(transport) else ""
            fields["protocol"].fail(PORT["protocol"], hint=hint)
    return declared


def _instances(value: Value, ports: tuple[Port, ...] | None, book: AddressBook) -> dict[str, Instance]:
    once = Once("an id")
    instances: dict[str, Instance] = {}
    for item in value.items(WORKLOAD["instances"]):
        fields = item.fields(INSTANCE, required=INSTANCE)
        instance_id = _instance_id(fields["id"]) if "id" in fields else None
        listen = _addresses(fields["listen"], ports, book, read_listener) if "listen" in fields else {}
        app = _addresses(fields["app"], ports, book, read_app) if "app" in fields else {}
        if instance_id is not None and once.add(instance_id, fields["id"]):
            instances[instance_id] = Instance(instance_id, MappingProxyType(listen), MappingProxyType(app))
    return instances


def _instance_id(value: Value) -> str | None:
    expected = "an id: at most 253 lower-case letters, digits, inner hyphens and dots, as in a pod's name"
    text = value.text(expected)
    if text is None:
        return None
    if len(text) > 253 or not _INSTANCE_ID.fullmatch(text):
        value.fail(expected)
        return None
    return text


def _addresses(
    value: Value, ports: tuple[Port, ...] | None, book: AddressBook, read: Callable[[Value], Address | None]
) -> dict[int, Address]:
    """Addresses by port number. `ports` is None where the workload's ports aren't known for sure."""
    addresses: dict[int, Address] = {}
    seen: dict[int, Value] = {}
    for item in value.entries("a mapping from ports to addresses").values():
        address = read(item)
        if address is not None:
            book.claim(address, item)
        port = None if ports is None else _referenced(item, ports)
        if port is None:
            continue
        if port.number in seen:
            hint = f"{seen[port.number].key} on line {seen[port.number].mark.line} is the same port"
            item.fail_key("each port once", found=f"port {port} again", hint=hint)
        seen.setdefault(port.number, item)
        if address is not None:
            addresses[port.number] = address
    if ports is not None and value.is_mapping:
        missing = [port for port in ports if port.protocol is not AppProtocol.UDP and port.number not in seen]
        for port in missing:
            example = f"add “{port.name or port.number}: 127.0.0.1:PORT”"
            value.fail("an address for every TCP port", found=f"none for port {port}", hint=example)
    return addresses


def _referenced(item: Value, ports: tuple[Port, ...]) -> Port | None:
    by_ref = {str(port.number): port for port in ports} | {port.name: port for port in ports if port.name}
    port = by_ref.get(item.word)
    if port is None:
        meant = item.fail_unknown(by_ref, expected=f"a port of this workload ({listed(map(str, ports))})")
        return by_ref.get(meant)
    if port.protocol is AppProtocol.UDP:
        item.fail_key("a TCP port", found=f"the UDP port {port}", hint="sidecars carry TCP only; leave it out")
        return None
    return port
