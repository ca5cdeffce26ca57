"""The variables that make programs use the proxy."""

from __future__ import annotations

import subprocess

from xds.client.egress.environment import ALL_NAMES, exports, unsets, variables, without_ours


def shell(script: str) -> str:
    clean = {"PATH": "/usr/bin:/bin", "HTTP_PROXY": "http://corporate:3128"}
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True, env=clean)
    return done.stdout


def test_a_shell_takes_them_and_gives_them_back() -> None:
    values = variables("127.0.0.1:4711", "", {"NO_PROXY": "intranet, localhost"})
    assert values["HTTP_PROXY"] == values["https_proxy"] == "http://127.0.0.1:4711"
    assert values["ALL_PROXY"] == values["all_proxy"] == "socks5h://127.0.0.1:4711"
    assert values["NO_PROXY"] == "localhost,127.0.0.1,::1,intranet"
    assert set(values) == set(ALL_NAMES)
    assert shell(exports(values) + 'echo "$HTTP_PROXY $no_proxy"') == f"{values['HTTP_PROXY']} {values['NO_PROXY']}\n"
    assert shell(exports(values) + unsets() + 'echo "${HTTP_PROXY-none} ${all_proxy-none}"') == "none none\n"


def test_what_would_run_in_the_shell_does_not() -> None:
    values = variables("127.0.0.1:4711", "", {"NO_PROXY": "$(echo ran);`echo ran`'"})
    assert shell(exports(values) + 'echo "$NO_PROXY"') == "localhost,127.0.0.1,::1,$(echo ran);`echo ran`'\n"


def test_a_password_is_part_of_the_address() -> None:
    values = variables("127.0.0.1:4711", "secret", {})
    assert values["http_proxy"] == "http://byway:secret@127.0.0.1:4711"
    assert values["ALL_PROXY"] == "socks5h://byway:secret@127.0.0.1:4711"
    assert "secret" not in values["BYWAY_PROXY"]


def test_asked_for_twice_they_are_the_same() -> None:
    once = variables("127.0.0.1:4711", "", {"NO_PROXY": "intranet"})
    assert variables("127.0.0.1:4711", "", once) == once


def test_byway_itself_does_not_follow_them_but_follows_others() -> None:
    ours = variables("127.0.0.1:4711", "secret", {})
    environment = {"PATH": "/bin", **ours, "HTTPS_PROXY": "http://corporate:3128"}
    left = without_ours(environment)
    assert left["PATH"] == "/bin"
    assert left["HTTPS_PROXY"] == "http://corporate:3128"
    assert not {"BYWAY_PROXY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} & left.keys()
    assert without_ours({"HTTP_PROXY": "x"}) == {"HTTP_PROXY": "x"}
