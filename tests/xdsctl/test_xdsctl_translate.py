"""`xdsctl translate`: from a file to resources."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.manager.running import FILE, NODE, running
from tests.xdsctl.running import ROOT, Result, xdsctl
from tests.xdsctl.test_xdsctl_tables import check
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Debug
from xds.config import load, load_state
from xdsctl.resources import TYPES

TEAM = ROOT / "tests/xdsctl/states/team.yaml"


def translate(file: Path, *arguments: str) -> Result:
    return xdsctl("translate", "-f", str(file), *arguments)


def changed(tmp_path: Path, before: str, after: str) -> Path:
    """The team's file with one text replaced."""
    text = TEAM.read_text()
    assert text.count(before) >= 1
    path = tmp_path / "state.yaml"
    path.write_text(text.replace(before, after, 1))
    return path


@pytest.mark.parametrize("wide", [False, True], ids=["table", "wide"])
def test_a_state_as_tables(wide: bool) -> None:
    result = translate(TEAM, *(["-o", "wide"] if wide else []))
    assert result.code == 0
    # A version is a hash of the content: whatever is compiled differently would be a difference here, too.
    shown, count = re.subn(r"\b[0-9a-f]{16}\b", "VERSION.........", result.out)
    assert bool(count) == wide
    check(f"translate{'-wide' if wide else ''}.txt", shown)
    assert "it goes to i-1" in result.err


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_one_instance_and_one_type_as_data(output: str) -> None:
    result = translate(TEAM, "--node", "orders-2", "--type", "rds", "-o", output)
    assert result.code == 0
    check(f"translate.{output}", result.out)


def test_a_standalone_file_is_a_state_without_intercepts() -> None:
    tour = ROOT / "docs/tour.yaml"
    assert load_state(tour).config == load(tour)
    assert not load_state(tour).state.intercepts
    assert "dev/deployment/orders/orders-1 routes: 1" in translate(tour).out


async def test_resources_and_versions_are_those_of_the_manager(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for kind in TYPES:
            reply = await Debug.GET_RESOURCES(
                run.channel, v1.GetResourcesRequest(node=NODE, type=kind), metadata=bearer(run.admin_token)
            )
            assert reply.resources
            meant = [{"name": one.name, "version": one.version} for one in reply.resources]
            document: dict[str, Any] = json.loads(translate(run.file, "--type", kind, "-o", "json").out)
            (instance,) = document["instances"]
            assert instance["node"] == NODE
            assert [{"name": one["name"], "version": one["version"]} for one in instance[kind]] == meant
    assert FILE.format(settings="{}") == run.file.read_text()


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        ("  workload: orders\n", "  workload: ordres\n", ":26:13: intercepts[0].workload", 'did you mean "orders"?'),
        ("owner: alice@laptop", "owner: alice", ":25:10: intercepts[0].owner", "whose it is, as USER@HOST"),
        ("{web: localhost:9101}", "{wep: localhost:9101}", ":27:11: intercepts[0].ports.wep", 'did you mean "web"?'),
        ("localhost:9101", "localhost", ":27:16: intercepts[0].ports.web", "such as localhost:8080"),
        ("localhost:9101", "db.local:1", ":27:16: intercepts[0].ports.web", "localhost or an IP address"),
        ("laptop: 10.9.9.1", "laptop: mine", ":29:11: intercepts[0].laptop", "an IP address"),
        ("when-down: fail", "when-down: fial", ":38:14: intercepts[1].when-down", 'did you mean "fail"?'),
        ("method: POST", "methud: POST", ":36:5: intercepts[1].match.methud", 'did you mean "method"?'),
        (
            "^(1|yes)$",
            "(",
            ":34:5: intercepts[1].match",
            "conditions that a request can satisfy, found others; --http-header",
        ),
        (
            "match: {header: auto, path-prefix: /api}",
            "shared: true",
            ":29:3: intercepts[1]",
            "expected an intercept that the manager would take, found",
        ),
        ("id: i-database", "id: i-1", ":44:7: intercepts[2].id", "an id of its own"),
        ("  name: all-of-it", "  shared: true\n  match: {method: GET}", ":43:11: intercepts[2].shared", "no “match”"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(
    tmp_path: Path, before: str, after: str, place: str, words: str
) -> None:
    file = changed(tmp_path, before, after)
    if after == "shared: true":
        # A shared intercept stands beside personal ones; one that is not, doesn't.
        file.write_text(file.read_text().replace("  shared: true\n", "", 1))
    result = translate(file)
    assert (result.code, result.out) == (2, "")
    assert f"{file}{place}" in result.err
    assert words in result.err
    problems = json.loads(translate(file, "-o", "json").out)["error"]["problems"]
    assert [f":{one['line']}:{one['column']}: {one['key']}" for one in problems] == [place]


def test_a_file_that_is_not_there_is_refused() -> None:
    result = translate(Path("/nonexistent.yaml"))
    assert result.code == 2
    assert "expected a YAML file, found none of this name; 1 problem in /nonexistent.yaml" in result.err


def test_an_instance_that_is_not_there_is_refused_with_those_that_are() -> None:
    result = translate(TEAM, "--node", "orders-9")
    assert result.code == 2
    assert "--node: there is no node 'orders-9'; there are dev/deployment/orders/orders-1, " in result.err
