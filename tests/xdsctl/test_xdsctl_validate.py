"""`xdsctl validate`: what a real Envoy says."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.xdsctl.running import ROOT, Result, xdsctl
from tests.xdsctl.test_xdsctl_tables import check
from xds.bootstrap import gateway_bootstrap
from xdsctl.resources import Resource
from xdsctl.static import GATEWAYS_OWN, Unit, dangling, units_of
from xdsctl.validated import refusals, words

TEAM = ROOT / "tests/xdsctl/states/team.yaml"
PORT = "dev/deployment/orders/8080"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def printed() -> Document:
    """What `translate -o json` prints of one instance."""
    document: Document = json.loads(xdsctl("translate", "-f", str(TEAM), "--node", "orders-1", "-o", "json").out)
    return document


def bodies(document: Document, kind: str) -> dict[str, Any]:
    """The resources of a type by name, to be changed in place."""
    return {one["name"]: one["resource"] for one in document["instances"][0][kind]}


def route(document: Document, name: str) -> Any:
    routes = bodies(document, "routes")[PORT]["virtual_hosts"][0]["routes"]
    return next(one for one in routes if one.get("name") == name)


def misspell_a_regex(document: Document) -> None:
    route(document, "i-2")["match"]["headers"][0]["string_match"] = {"safe_regex": {"regex": "("}}


def repeat_a_domain(document: Document) -> None:
    configuration = bodies(document, "routes")[PORT]
    configuration["virtual_hosts"].append({**configuration["virtual_hosts"][0], "name": "again"})


def name_a_host(document: Document) -> None:
    name = f"{PORT}/app"
    (locality,) = bodies(document, "endpoints")[name]["endpoints"]
    locality["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"] = "orders.local"


def make_a_timeout_negative(document: Document) -> None:
    bodies(document, "clusters")[f"{PORT}/app"]["connect_timeout"] = "-1s"


def misspell_a_field(document: Document) -> None:
    bodies(document, "listeners")[PORT]["adress"] = {}


def validate(tmp_path: Path, document: Document, *more: str) -> Result:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(document))
    return xdsctl("validate", "-r", str(path), *more)


def test_envoy_takes_what_is_compiled() -> None:
    result = xdsctl("validate", "-f", str(TEAM))
    assert (result.code, result.err) == (0, "")
    check("validate.txt", result.out)


@pytest.mark.parametrize(
    ("spoil", "about", "text"),
    [
        (misspell_a_regex, {"type": "routes", "name": PORT, "route": "i-2"}, "missing ): ("),
        (repeat_a_domain, {"type": "routes", "name": PORT}, "Only a single wildcard domain is permitted"),
        (name_a_host, {"type": "endpoints", "name": f"{PORT}/app"}, "malformed IP address: orders.local"),
        (make_a_timeout_negative, {"type": "clusters", "name": f"{PORT}/app"}, "Expected positive duration"),
        (misspell_a_field, {"type": "listeners", "name": PORT}, "adress"),
    ],
)
def test_a_refusal_is_told_in_envoys_words_with_the_resource_that_it_is_about(
    tmp_path: Path, printed: Document, spoil: Callable[[Document], None], about: dict[str, str], text: str
) -> None:
    document = copy.deepcopy(printed)
    spoil(document)
    result = validate(tmp_path, document, "-o", "json")
    assert result.code == 1
    shown = json.loads(result.out)
    assert shown["envoy"] == "1.40.0"
    (node,) = shown["nodes"]
    assert not node["ok"]
    (refusal,) = node["refusals"]
    assert refusal["about"] == [about]
    assert text in refusal["text"]


def test_several_refusals_as_a_table(tmp_path: Path, printed: Document) -> None:
    document = copy.deepcopy(printed)
    misspell_a_regex(document)
    name_a_host(document)
    route(document, "i-1")["route"]["cluster"] = "nowhere"
    result = validate(tmp_path, document)
    assert (result.code, result.err) == (1, "")
    check("validate-refused.txt", result.out)


def test_a_route_to_nowhere_is_a_warning_since_envoy_takes_it(tmp_path: Path, printed: Document) -> None:
    document = copy.deepcopy(printed)
    route(document, "i-1")["route"]["cluster"] = "nowhere"
    result = validate(tmp_path, document, "-o", "json")
    assert result.code == 0
    assert json.loads(result.out)["nodes"][0]["warnings"] == [
        f"routes {PORT} leads to cluster nowhere, which there is not"
    ]


def test_what_is_compiled_refers_to_nothing_that_is_not_there(printed: Document) -> None:
    assert (
        json.loads(xdsctl("validate", "-f", str(TEAM), "--node", "db", "-o", "json").out)["nodes"][0]["warnings"] == []
    )
    assert dangling({}) == []


def test_envoy_looks_at_clusters_whose_secrets_come_by_ads(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    gateways = "gateways: [{name: gw-1, tunnel: '127.0.0.1:21443', sidecars: '127.0.0.1:21444'}]\n"
    file.write_text(gateways + TEAM.read_text())
    result = xdsctl("validate", "-f", str(file), "-o", "json")
    assert (result.code, result.err) == (0, "")
    nodes = json.loads(result.out)["nodes"]
    assert nodes
    assert [one["refusals"] for one in nodes] == [[]] * len(nodes)
    printed = xdsctl("translate", "-f", str(file), "--type", "clusters", "--node", "orders-1", "-o", "json")
    assert "byway/identity" in str(bodies(json.loads(printed.out), "clusters")["gateways"])


def test_the_clusters_of_a_gateways_bootstrap_are_there_for_its_routes() -> None:
    keys = ("node", "admin_socket", "keys_socket", "manager_host", "secret_file", "issuer", "audience")
    numbers = ("accept_port", "manager_port", "max_program_size")
    template = gateway_bootstrap({**dict.fromkeys(keys, ""), **dict.fromkeys(numbers, 1)})
    names = {one["name"] for one in template["static_resources"]["clusters"]}
    assert names >= GATEWAYS_OWN
    routes = {"virtual_hosts": [{"routes": [{"route": {"cluster": each}} for each in (*GATEWAYS_OWN, "nowhere")]}]}
    (warning,) = dangling({"routes": [Resource("laptops", routes, "")]}, GATEWAYS_OWN)
    assert "nowhere" in warning


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"a":' * 100_000, "instances: &a []\nmore: *a\n", "{", "\x00", "types: []\n", "- node\n"],
    ids=["deep YAML", "deep JSON", "an alias", "half", "no text", "nothing", "a list"],
)
def test_what_no_command_prints_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "resources"
    path.write_text(content)
    result = xdsctl("validate", "-r", str(path))
    assert result.code == 2
    assert result.err.startswith(f"Error: -r: {path} is not what `xdsctl translate`, `get` or `fetch` print")


def test_a_program_that_is_no_envoy_says_nothing_of_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVOY", "true")
    result = xdsctl("validate", "-f", str(TEAM))
    assert result.code == 1
    assert result.err.endswith("/true is no Envoy: it does not tell its version\n")


def test_without_an_envoy_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVOY", "no-such-envoy")
    result = xdsctl("validate", "-f", str(TEAM))
    assert result.code == 1
    assert result.err == "Error: $ENVOY names 'no-such-envoy', which is no program\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which resources?"),
        (["-f", str(TEAM), "-r", "x"], "-f and -r exclude each other"),
        (["-r", str(TEAM)], f"-r: {TEAM} is not what `xdsctl translate`, `get` or `fetch` print"),
        (["-r", "/nonexistent"], "-r: can't read /nonexistent: no such file or directory"),
        (["-f", str(TEAM), "--node", "nobody"], "--node: there is no node 'nobody'"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], message: str) -> None:
    result = xdsctl("validate", *arguments)
    assert result.code == 2
    assert result.err.startswith(f"Error: {message}")


def units(*names: str) -> list[Unit]:
    return [Unit("clusters", name, {}) for name in names]


class Judge:
    """Refuses the units of these groups, when all of a group are there; counts how often it was asked."""

    def __init__(self, *groups: str) -> None:
        self.groups = [set(group) for group in groups]
        self.asked = 0

    def __call__(self, those: Sequence[Unit]) -> str:
        self.asked += 1
        names = {one.name for one in those}
        return next(("no " + "".join(sorted(group)) for group in self.groups if group <= names), "")


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("groups", [(), ("a",), ("m", "z"), ("az",), ("bx", "k"), ("ghx",)])
def test_exactly_what_is_refused_is_found(groups: tuple[str, ...]) -> None:
    judge = Judge(*groups)
    found = refusals(units(*ALPHABET), judge)
    assert {"".join(unit.name for unit in one.units) for one in found} == set(groups)
    assert all(one.text == f"no {''.join(unit.name for unit in one.units)}" for one in found)


def test_one_bad_unit_among_a_thousand_costs_a_few_looks() -> None:
    judge = Judge("ab")
    names = [f"c{number}" for number in range(1000)]
    names[777] = "bad"
    judge.groups = [{"bad"}]
    assert [one.units[0].name for one in refusals(units(*names), judge)] == ["bad"]
    assert judge.asked <= 23


def test_no_more_refusals_are_looked_for_than_anybody_reads() -> None:
    judge = Judge(*ALPHABET)
    assert len(refusals(units(*ALPHABET), judge, 3)) == 3


def test_units_without_routes_have_none() -> None:
    assert units_of({}) == ([], [])


def test_envoys_words_end_where_its_log_goes_on() -> None:
    log = (
        "[2026-11-20 16:56:35.409][1][critical][main] [server.cc:76] error initializing configuration '/tmp/b': one\n"
        "two\n[2026-11-20 16:56:35.410][1][info][main] [server.cc:1] exiting\n"
    )
    assert words(log, 1) == "one\ntwo"
    assert words("", -11) == "Envoy ended with code -11 and said nothing"
