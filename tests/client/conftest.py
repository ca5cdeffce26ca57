"""A manager of the simplest kind, a laptop, and one that is connected to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client.fake import FakeManager
from tests.client.laptop import Laptop
from xds.paths import write_private


@pytest.fixture
def laptop() -> Iterator[Laptop]:
    # Not tmp_path: a Unix socket's path is short.
    with tempfile.TemporaryDirectory(prefix="byway-") as folder:
        one = Laptop(Path(folder))
        try:
            yield one
        finally:
            one.kill()


@pytest.fixture
async def manager(laptop: Laptop) -> AsyncIterator[FakeManager]:
    fake = FakeManager()
    await fake.start()
    write_private(laptop.state.address, fake.address + "\n")
    write_private(laptop.state.user_token("alice"), "secret-of-alice\n")
    try:
        yield fake
    finally:
        await fake.stop()


@pytest.fixture
async def connected(laptop: Laptop, manager: FakeManager) -> Laptop:
    result = await laptop.byway("connect", "--host", "laptop")
    assert result.code == 0, result.err
    return laptop
