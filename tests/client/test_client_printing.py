"""Help pages and tables, as they were when somebody last looked at them."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.client.fake import BOBS
from tests.client.golden import check_golden
from xds.api.byway.daemon.v1 import GetStatusReply, PastNotification
from xds.api.byway.manager.v1 import (
    Intercept,
    InterceptedRequest,
    Port,
    PortMapping,
    Session,
    SidecarState,
    SidecarStateState,
    Target,
    TargetStateState,
    Traffic,
    Workload,
)
from xds.client.cli import follow
from xds.client.cli.announcement import summary
from xds.client.cli.app import COMMANDS, SECTIONS, cli
from xds.client.cli.status import status_data, status_text
from xds.client.cli.traffic import headings, request_cells, request_data
from xds.client.cli.views import intercept_data, intercepts_table, workload_data, workloads_table
from xds.terminal.output import data, pairs, table, width
from xds.terminal.words import duration

OWN = [name for name, (path, _) in COMMANDS.items() if path.startswith("xds.client")]

WORKLOADS = [
    Workload(
        id="dev/deployment/orders",
        ports=[Port(number=8080, name="http", protocol="http"), Port(number=9090, protocol="tcp")],
        instances=["orders-1", "orders-2"],
        connected=["orders-1", "orders-2"],
        mine=["orders", "orders-api"],
        others=2,
    ),
    Workload(id="dev/deployment/cart", ports=[Port(number=80)], instances=["a", "b"], connected=["b"], others=1),
    Workload(id="dev/deployment/mail", ports=[Port(number=25)], instances=["mail-1"]),
    Workload(id="prod/statefulset/store", ports=[Port(number=6379)]),
    Workload(id="prod/deployment/worker", instances=["w"], connected=["w"]),
]

OWN_INTERCEPT = Intercept(
    id="i-1",
    session_id="s-1",
    owner="alice@laptop",
    name="orders",
    workload="dev/deployment/orders",
    ports=[
        PortMapping(
            port=8080,
            port_name="http",
            target=Target(host="localhost", port=9101),
            target_state=TargetStateState.NOT_LISTENING,
            target_detail="nothing listens on localhost:9101",
        )
    ],
    match_flags=["--http-header=auto", "--http-path-prefix=/api/"],
    kind="personal",
    when_down="cluster",
    disposition="active",
    answered_by="cluster: nothing listens on localhost:9101",
    sidecars=[
        SidecarState(instance="orders-1", state=SidecarStateState.ACKED),
        SidecarState(instance="orders-2", state=SidecarStateState.ABSENT, detail="no sidecar is connected"),
    ],
    curl_args=["-H", "x-telepresence-id: alice-1f2e3d", "/api/"],
    mine=True,
    traffic=Traffic(
        total=1243,
        statuses={0: 1, 101: 1, 200: 1200, 204: 30, 503: 10},
        served_by={"": 1, "laptop": 1230, "cluster": 11},
        p50_seconds=0.0123,
        p99_seconds=3.21,
    ),
)
DISPLACED = Intercept(
    id="i-2",
    owner="alice@laptop",
    name="日本",
    workload="dev/deployment/mail",
    ports=[PortMapping(port=25, target=Target(host="::1", port=2525))],
    kind="global",
    shared=True,
    when_down="fail",
    disposition="displaced",
    displaced_by="bob@tower",
    displaced_seconds=4000.0,
    answered_by="cluster: the intercept is displaced",
    mine=True,
    traffic=Traffic(),
)


def requests() -> Iterator[InterceptedRequest]:
    """One of each kind."""
    grpc = {"method": "POST", "path": "/demo.Echo/Unary", "protocol": "HTTP/2"}
    kinds: list[dict[str, Any]] = [
        {},
        {"method": "", "path": "/\x1b[31mred\x1b]0;title\x07\r\n日本\u202e", "served_by": "cluster", "status": 404},
        {"status": 503, "served_by": "none", "duration_seconds": 0.0004},
        {"status": 0, "open": True, "served_by": "", "duration_seconds": 75.0},
        {"status": 0, "served_by": "", "duration_seconds": 2.25},
        {**grpc, "grpc_status": 14},
        {**grpc, "grpc_status": 0},
        {**grpc, "grpc_status": 99},
        {"status": 101, "open": True, "path": "/ws", "duration_seconds": 4000.0},
    ]
    for number, kind in enumerate(kinds, 1):
        one: dict[str, Any] = {"number": number, "started": 1_795_000_000.0 + number * 1.5, "instance": "orders-1"}
        one |= {"method": "GET", "path": "/api/refunds", "protocol": "HTTP/1.1", "status": 200, "grpc_status": -1}
        yield InterceptedRequest(**one | {"duration_seconds": 0.01234, "served_by": "laptop"} | kind)


REQUESTS = list(requests())
INTERCEPTS = [OWN_INTERCEPT, DISPLACED, BOBS]

STATUS = GetStatusReply(
    state="connected",
    manager_address="127.0.0.1:15010",
    manager_version="9.9.9",
    version="0.1.0",
    user="alice",
    host="laptop",
    session_id="s-1",
    epoch=3,
    key_name="x-telepresence-id",
    key_value="alice-1f2e3d",
    pid=4711,
    session=Session(
        id="s-1",
        user="alice",
        host="laptop",
        idle_seconds=700.0,
        present=True,
        expires_in_seconds=85_700.0,
        inactive=True,
        intercepts=[replace(OWN_INTERCEPT, traffic=None)],
    ),
    notifications=[
        PastNotification(seconds_ago=65.0, text="intercept 'mail' was displaced by bob@tower", warning=True),
        PastNotification(seconds_ago=2.0, text="intercept 'mail' is back", warning=False),
    ],
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the zone of whoever looks."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("command", ["", *OWN])
def test_help_page(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"], prog_name="byway")
    assert result.exit_code == 0
    check_golden(f"help-{command or 'byway'}", result.output)


@pytest.mark.parametrize("command", OWN)
def test_the_overview_says_of_a_command_what_its_own_help_says(command: str) -> None:
    path, line = COMMANDS[command]
    module, _, name = path.partition(":")
    assert getattr(importlib.import_module(module), name).short_help == line


def test_every_command_is_in_one_section_of_the_overview() -> None:
    assert sorted(COMMANDS) == sorted(name for names in SECTIONS.values() for name in names)


@pytest.mark.parametrize("wide", [False, True])
def test_table_of_workloads(wide: bool) -> None:
    check_golden(f"workloads{'-wide' if wide else ''}", workloads_table(WORKLOADS, wide=wide))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("owners", [False, True])
def test_table_of_intercepts(wide: bool, owners: bool) -> None:
    name = f"intercepts{'-all' if owners else ''}{'-wide' if wide else ''}"
    check_golden(name, intercepts_table(INTERCEPTS, wide=wide, owners=owners))


@pytest.mark.parametrize("wide", [False, True])
def test_status(wide: bool) -> None:
    check_golden(f"status{'-wide' if wide else ''}", status_text(STATUS, wide=wide))


@pytest.mark.parametrize("wide", [False, True], ids=["", "wide"])
def test_table_of_requests(wide: bool) -> None:
    rows = [request_cells(one, wide=wide) for one in REQUESTS]
    check_golden(f"requests{'-wide' if wide else ''}", table(headings(wide=wide), rows))


@given(st.text())
def test_nothing_of_a_path_moves_the_cursor(path: str) -> None:
    request = InterceptedRequest(path="".join(each for each in path if not "\ud800" <= each <= "\udfff"))
    assert all(cell.isprintable() for cell in request_cells(request, wide=True))
    assert request_data(request)["path"].isprintable()


def test_status_of_a_refused_session() -> None:
    reply = GetStatusReply(state="refused", detail="the token is unknown; do this", manager_address="127.0.0.1:1")
    check_golden("status-refused", status_text(reply, wide=False))


def test_summary_of_a_new_intercept() -> None:
    check_golden("summary", summary(OWN_INTERCEPT) + summary(BOBS))


def test_progress_shows_first_who_has_not_confirmed() -> None:
    states = [SidecarStateState.ACKED, SidecarStateState.WAITING, SidecarStateState.NACKED, SidecarStateState.ABSENT]
    sidecars = [
        SidecarState(
            instance=f"orders-{number:02}", state=states[number % 4], detail="bad regex" if number == 2 else ""
        )
        for number in range(23)
    ]
    shown = follow.lines(Intercept(workload="dev/deployment/orders", sidecars=sidecars))
    check_golden("progress", "\n".join(shown) + "\n")


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_data_for_programs(output: str) -> None:
    value = {
        "intercepts": [intercept_data(each) for each in INTERCEPTS],
        "workloads": [workload_data(each) for each in WORKLOADS],
        "status": status_data(STATUS),
        "requests": [request_data(each) for each in REQUESTS],
    }
    text = data(value, output)
    check_golden(f"data-{output}", text)
    assert (json.loads(text) if output == "json" else yaml.safe_load(text)) == value


def test_an_enum_value_of_a_newer_manager_is_shown_as_unknown() -> None:
    newer = PortMapping.parse(bytes([32, 77]))  # target_state = 77
    assert intercept_data(Intercept(ports=[newer]))["ports"][0]["target_state"] == "unknown"


@given(st.lists(st.lists(st.text("ab ü日\u0301", max_size=6), min_size=3, max_size=3), max_size=6))
def test_columns_of_a_table_begin_where_their_heading_does(rows: list[list[str]]) -> None:
    lines = table(["ONE", "TWO", "THREE"], rows).splitlines()
    assert len(lines) == len(rows) + 1
    start = lines[0].index("THREE")
    for line, row in zip(lines[1:], rows, strict=True):
        last = row[2].rstrip() if row[2] else "-"
        assert width(line) <= start + width(last)
        assert line.endswith(last)
        assert not last or width(line) == start + width(last)


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("A", "1"), ("Long", ""), ("Bb", "2")]) == "A:   1\nBb:  2\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (150, "2m30s"),
        (599.6, "10m"),
        (3599, "1h"),
        (86399, "24h"),
        (180000, "2d2h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
