"""`xdsctl fetch` against a server that is not Byway's manager."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.xdsctl.other_server import PASSWORD
from tests.xdsctl.running import XDSCTL, Other, other_server, xdsctl
from tests.xdsctl.test_xdsctl_tables import check
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.serve.status import Variant
from xdsctl.collect import Collector
from xdsctl.fetch import metadata_values
from xdsctl.redact import HIDDEN, redacted

TRANSPORTS = pytest.mark.parametrize("variant", ["--delta", "--sotw"])


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    with other_server() as found:
        yield found


def fetched(other: Other, *arguments: str) -> dict[str, Any]:
    """What `-o json` prints."""
    result = xdsctl("fetch", other.address, "--node", "n", *arguments, "-o", "json")
    assert (result.code, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


def names(document: dict[str, Any]) -> dict[str, list[str]]:
    return {one["type"]: [each["name"] for each in one["resources"]] for one in document["types"]}


@TRANSPORTS
@pytest.mark.parametrize("streams", [[], ["--per-type"]], ids=["aggregated", "per type"])
def test_all_that_a_node_has_is_fetched_by_every_way(other: Other, variant: str, streams: list[str]) -> None:
    found = fetched(other, variant, *streams)
    assert names(found) == {"listeners": ["l"], "routes": ["r"], "clusters": ["c"], "endpoints": ["c-endpoints"]}
    assert found["transport"] == f"{variant[2:]}, {'per type' if streams else 'aggregated'}"
    assert found["control_plane"] == "another server"
    assert all(one["answered"] for one in found["types"])


@pytest.mark.parametrize("wide", [False, True], ids=["table", "wide"])
def test_what_is_fetched_as_tables(other: Other, wide: bool) -> None:
    result = xdsctl("fetch", other.address, "--node", "n", *(["-o", "wide"] if wide else []))
    assert (result.code, result.err) == (0, "")
    check(f"fetch{'-wide' if wide else ''}.txt", result.out)


def test_other_types_as_tables_without_what_is_secret(other: Other) -> None:
    arguments = ["--type", "sds", "--type", "runtimes"]
    result = xdsctl("fetch", other.address, "--node", "n", *arguments)
    assert (result.code, result.err) == (0, "")
    check("fetch-others.txt", result.out)
    for output in ("table", "wide", "json", "yaml"):
        assert PASSWORD not in xdsctl("fetch", other.address, "--node", "n", *arguments, "-o", output).out
    (secret,) = fetched(other, "--type", "secrets")["types"][0]["resources"]
    assert (secret["resource"]["name"], secret["resource"]["generic_secret"]) == ("password", HIDDEN)


@TRANSPORTS
def test_routes_and_endpoints_alone_are_found_through_what_names_them(other: Other, variant: str) -> None:
    assert names(fetched(other, variant, "--type", "rds", "--type", "eds")) == {
        "routes": ["r"],
        "endpoints": ["c-endpoints"],
    }


def test_a_named_resource_is_fetched_alone(other: Other) -> None:
    assert names(fetched(other, "--type", "cluster", "--name", "c")) == {"clusters": ["c"]}


def test_a_resource_that_is_not_there_is_said_to_be_missing(other: Other) -> None:
    arguments = ["fetch", other.address, "--node", "n", "--type", "rds", "--name", "r", "--name", "nowhere"]
    result = xdsctl(*arguments)
    assert result.code == 1
    assert "r     1 " in result.out
    assert result.err == f"{other.address} says that there is no route 'nowhere'\n"
    result = xdsctl(*arguments, "-o", "json")
    assert result.code == 1
    (routes,) = json.loads(result.out)["types"]
    assert (routes["answered"], routes["missing"]) == (True, ["nowhere"])


def test_in_state_of_the_world_what_is_not_there_has_only_not_been_sent(other: Other) -> None:
    result = xdsctl(
        "fetch", other.address, "--node", "n", "--sotw", "--type", "rds", "--name", "r", "--name", "nowhere"
    )
    assert result.code == 1
    assert result.err.startswith(f"{other.address} has not sent route 'nowhere'")


def test_what_silence_may_mean_is_said() -> None:
    with other_server("--silent") as silent:
        for variant, hint in (("--delta", "try --sotw, or a longer --timeout"), ("--sotw", "try --delta")):
            result = xdsctl("fetch", silent.address, "--node", "me", "--type", "lds", variant, "--timeout", "0.3")
            assert result.code == 1
            assert result.out == ""
            assert result.err.startswith(
                f"Error: {silent.address} took the question about listeners, and has not answered within 0.3 s; "
                "it may not know the node 'me', or"
            )
            assert result.err.endswith(f"{hint}\n")
        failed = xdsctl("fetch", silent.address, "--node", "me", "--type", "rds", "--timeout", "0.3", "-o", "json")
        error = json.loads(failed.out)["error"]
        assert (failed.code, error["code"]) == (1, "no_answer")
        assert error["message"].startswith("no routes were asked for, since")


def test_a_strangers_text_does_not_steer_the_terminal(other: Other) -> None:
    other.tell("put", "steering")
    try:
        result = xdsctl("fetch", other.address, "--node", "n", "--type", "clusters")
        assert "\N{REPLACEMENT CHARACTER}[2Jsteering" in result.out
        assert "\x1b" not in result.out
    finally:
        other.tell("drop", "steering")


def test_nobody_listening_is_exit_code_3() -> None:
    result = xdsctl("fetch", "127.0.0.1:1", "--node", "n")
    assert result.code == 3
    assert result.err.startswith("Error: can't reach 127.0.0.1:1, or it is not ready: connection refused")


def test_a_token_is_shown_and_a_refusal_has_the_servers_words(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    with other_server("--token", "t0ken") as guarded:
        result = xdsctl("fetch", guarded.address, "--node", "n")
        assert result.code == 1
        assert f"Error: {guarded.address} refuses us: show me a token that I know; check --node" in result.err
        assert xdsctl("fetch", guarded.address, "--node", "n", "--token-file", str(token)).code == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=other.test", "-addext", "subjectAltName=DNS:other.test"]
    subprocess.run([*command, "-out", cert, "-keyout", key], check=True, capture_output=True)
    with other_server("--cert", str(cert), "--key", str(key)) as other:
        tls = ["--ca", str(cert), "--server-name", "other.test"]
        assert xdsctl("fetch", other.address, "--node", "n", *tls).code == 0
        assert xdsctl("fetch", other.address, "--node", "n", "--tls", "--timeout", "5").code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--node", "n"], "ADDRESS: 'nowhere' is not HOST:PORT; as in 127.0.0.1:15010, or unix:PATH"),
        (["a:1", "--node", "n", "--name", "x"], "--name: it isn't clear of which type; give one --type with it"),
        (["a:1", "--node", "n", "--cert", "x"], "--cert and --key belong together"),
        (
            ["a.test:1", "--node", "n", "--token-file", "x"],
            "--token-file: without --tls the token would cross the network to a.test:1 in the clear; add --tls",
        ),
        (
            ["a:1", "--node", "n", "--type", "vhds", "--per-type"],
            "--per-type: no service speaks of type.googleapis.com/envoy.config.route.v3.VirtualHost alone, "
            "only the aggregated one does; leave it out",
        ),
        (["a:1", "--node", "n", "--ca", "/nonexistent"], "--ca: can't read /nonexistent: no such file or directory"),
        (["a:1", "--node", "n", "--metadata", "x"], "--metadata: 'x' is not KEY=VALUE; or KEY:=JSON, as in "),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_to_do(arguments: list[str], message: str) -> None:
    result = xdsctl("fetch", *arguments)
    assert result.code == 2
    assert result.err.startswith(f"Error: {message}")


def test_metadata_are_texts_or_json() -> None:
    assert metadata_values(["A=1", "B:=1", 'C:={"d": [null]}', "E=a=b"]) == {
        "A": "1",
        "B": 1,
        "C": {"d": [None]},
        "E": "a=b",
    }


def test_watching_shows_what_changes_until_interrupted(other: Other) -> None:
    command = [XDSCTL, "fetch", other.address, "--node", "n", "--type", "cds", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        rescue = threading.Timer(60, watching.kill)
        rescue.start()
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith("NAME")
            assert watching.stdout.readline().startswith("c ")
            other.tell("put", "d")
            assert "  clusters: got d (nonce " in watching.stdout.readline()
            other.tell("drop", "d")
            assert "  clusters: removed d (nonce " in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 130
            assert watching.stderr is not None
            assert watching.stderr.read() == ""
        finally:
            rescue.cancel()
            watching.kill()


def test_watching_as_json_has_a_line_for_each_response(other: Other) -> None:
    command = [XDSCTL, "fetch", other.address, "--node", "n", "--type", "cds", "--watch", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watching:
        rescue = threading.Timer(60, watching.kill)
        rescue.start()
        try:
            assert watching.stdout is not None
            first = json.loads(watching.stdout.readline())
            assert (first["type"], [one["name"] for one in first["resources"]]) == ("clusters", ["c"])
            other.tell("put", "d")
            assert [one["name"] for one in json.loads(watching.stdout.readline())["resources"]] == ["d"]
            other.tell("drop", "d")
            assert json.loads(watching.stdout.readline())["removed"] == ["d"]
        finally:
            rescue.cancel()
            os.kill(watching.pid, signal.SIGINT)
            watching.wait(10)


def test_the_listeners_that_name_routes_are_asked_for_but_not_shown() -> None:
    collector = Collector(Variant.DELTA, [ROUTE])
    assert collector.first() == [(LISTENER, ("*",))]
    assert [url for url, _ in collector.shown] == [ROUTE]
    assert Collector(Variant.DELTA, [ENDPOINT], ["a"]).first() == [(ENDPOINT, ("a",))]
    assert Collector(Variant.DELTA, [ENDPOINT, CLUSTER]).first() == [(CLUSTER, ("*",))]


def test_secrets_inside_of_other_resources_are_hidden_and_where_they_come_from_is_not() -> None:
    certificate = {"certificate_chain": {"inline_string": "cert"}, "private_key": {"inline_string": "key"}}
    by_file = {"private_key": {"filename": "/k.pem"}, "password": {"inline_bytes": "c2VjcmV0"}}
    found = redacted({"transport_socket": {"tls_certificates": [certificate, by_file]}})
    one, two = found["transport_socket"]["tls_certificates"]
    assert one == {"certificate_chain": {"inline_string": "cert"}, "private_key": {"inline_string": HIDDEN}}
    assert two == {"private_key": {"filename": "/k.pem"}, "password": {"inline_bytes": HIDDEN}}
    users = {"@type": "x/envoy.extensions.filters.http.basic_auth.v3.BasicAuth", "users": {"inline_string": "a:{SHA}b"}}
    assert redacted(users)["users"] == {"inline_string": HIDDEN}
