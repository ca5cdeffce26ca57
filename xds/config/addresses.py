"""Addresses in the file: which are accepted, and that no two of them are the same."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from xds.config.problems import shown
from xds.config.reader import Value
from xds.registry.workload import Address

EXPECTED: Final = "an IP address and a port such as 127.0.0.1:8080"
_IP: Final = r"[0-9a-fA-F:.]*"
_FORM: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:]*)):(?P<port>[0-9]+)")
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
# "Every address" of a family includes each address of it, so nothing else can have its port.
_EVERY: Final[dict[int, _Ip]] = {4: ipaddress.IPv4Address("0.0.0.0"), 6: ipaddress.IPv6Address("::")}  # noqa: S104


def read_listener(value: Value) -> Address | None:
    """Where a sidecar accepts connections: any local address, `0.0.0.0` and `[::]` too."""
    return _read(value, lowest=1)


def read_app(value: Value) -> Address | None:
    """Where an app listens, seen from its sidecar: an address that one can connect to."""
    return _dialled(value, "the sidecar shall use")


def read_gateway(value: Value) -> Address | None:
    """Where a gateway listens, and where it is dialled."""
    return _dialled(value, "the gateway listens on")


def _dialled(value: Value, use: str) -> Address | None:
    address = _read(value, lowest=1)
    if address is not None and ipaddress.ip_address(address.host).is_unspecified:
        value.fail(EXPECTED, hint=f"nobody can connect to “every address”; write the one that {use}")
        return None
    return address


def read_manager(value: Value) -> Address | None:
    """Where the manager listens: on this machine only. Port 0 lets the system choose."""
    address = _read(value, lowest=0)
    if address is not None and not ipaddress.ip_address(address.host).is_loopback:
        hint = "standalone mode has no TLS, so tokens would cross the network in the clear; write 127.0.0.1 or [::1]"
        value.fail("a loopback address and a port such as 127.0.0.1:15010", hint=hint)
        return None
    return address


def read_monitoring(value: Value) -> Address | None:
    """Where metrics and health are served: any local address, since nothing there is secret. Port 0 lets the system
    choose."""
    return _read(value, lowest=0)


def _read(value: Value, *, lowest: int) -> Address | None:
    text = value.text(EXPECTED)
    if text is None:
        return None
    form = _FORM.fullmatch(text)
    if form is None:
        value.fail(EXPECTED, hint=_form_hint(text))
        return None
    host = form["v6"] if form["v6"] is not None else form["host"]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        value.fail(EXPECTED, hint=_host_hint(host, form["port"]))
        return None
    if (ip.version == 6) != (form["v6"] is not None):
        value.fail(EXPECTED, hint="brackets are for IPv6 addresses")
        return None
    hint = _refusal(ip)
    port = int(form["port"]) if len(form["port"]) <= 5 else 65536
    if not lowest <= port <= 65535 or (len(form["port"]) > 1 and form["port"].startswith("0")):
        hint = f"a port is a number from {lowest} to 65535"
    if hint:
        value.fail(EXPECTED, hint=hint)
        return None
    return Address(str(ip), port)


def _form_hint(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,5}", text):
        return f"write 127.0.0.1:{text}"
    if "://" in text:
        return "leave out the scheme"
    if text.count(":") > 1 and not text.startswith("["):
        return "an IPv6 address needs brackets and quotes: “[::1]:8080”"
    host = text.strip("[]")
    return "the port is missing" if host and ":" not in text.partition("]")[2] else ""


def _host_hint(host: str, port: str) -> str:
    if not host:
        return f"write 127.0.0.1:{port}"
    if host.lower() == "localhost":
        return f"Envoy's endpoints take addresses, not names; write 127.0.0.1:{port}"
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        return f"{shown(host)} is no IP address"
    return f"Envoy's endpoints take addresses, not names; write the address of {shown(host)}"


def _refusal(ip: _Ip) -> str:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return f"write the IPv4 address as {ip.ipv4_mapped}"
        if ip.scope_id is not None:
            return "Envoy's addresses have no zone; leave out what follows “%”"
    if ip.is_multicast or str(ip) == "255.255.255.255":
        return "TCP can't use a multicast or broadcast address"
    return ""


class AddressBook:
    """Every address that something listens on. Two can't share one: the second would fail to bind, or, where it is an
    app's and a sidecar's, the sidecar would send requests to itself or to a stranger."""

    def __init__(self) -> None:
        self._taken: dict[int, dict[_Ip, Value]] = {}

    def claim(self, address: Address, value: Value) -> bool:
        """Note an address; reports it and answers False when it is taken."""
        if address.port == 0:
            return True
        ip = ipaddress.ip_address(address.host)
        on_port = self._taken.setdefault(address.port, {})
        earlier = on_port.get(ip) or on_port.get(_EVERY[ip.version])
        if earlier is None and ip.is_unspecified:
            earlier = next((taken for other, taken in on_port.items() if other.version == ip.version), None)
        if earlier is None:
            on_port[ip] = value
            return True
        where = f"{earlier.key} on line {earlier.node.mark.line}"
        value.fail("an address of its own", hint=f"{where} has {_same(earlier, value)} already")
        return False


def _same(earlier: Value, value: Value) -> str:
    text = earlier.text(EXPECTED) or ""
    return "it" if text == value.text(EXPECTED) else shown(text)
