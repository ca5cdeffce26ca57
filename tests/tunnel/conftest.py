"""Gateways for tests of the tunnel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import Processes
from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.static_gateway import StaticGateway


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def gateway(authority: Authority, tokens: Tokens) -> Iterator[StaticGateway]:
    """A gateway that is not started."""
    with tempfile.TemporaryDirectory(prefix="bw-", ignore_cleanup_errors=True) as name:
        processes = Processes(Path(name) / "logs")
        yield StaticGateway(processes, Path(name) / "gateway", authority, tokens)
        processes.stop_all()


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="bw-", ignore_cleanup_errors=True) as name:
        yield Path(name)
