"""The daemon's process: one per state directory, on a socket that only its user may open.

SIGTERM lets go of the session without ending it: the laptop counts as away at once, and the next daemon resumes. Ending
the session is what Stop does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from xds.client.daemon.clock import Activity
from xds.client.daemon.egress import Egress
from xds.client.daemon.link import Link, LinkConfig
from xds.client.daemon.notifications import Notifications
from xds.client.daemon.proxy import ManagerProxy
from xds.client.daemon.service import DaemonService
from xds.client.files import ALREADY_RUNNING, LaptopFiles
from xds.only_one import TakenError, only_one
from xds.paths import StateDir, private_dir

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What the daemon is told when it starts; nothing of it is secret."""

    state: StateDir
    manager: str
    token_file: Path
    host: str
    address: str = ""
    reach: str = "auto"
    tunnel: str = "auto"


def remove_stale_socket(path: Path) -> None:
    """Make room for ours. The lock is held, so whoever made the socket is gone."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


async def serve(config: DaemonConfig) -> None:
    """Be the daemon until SIGTERM, SIGINT or Stop."""
    files = LaptopFiles.of(config.state)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    link = Link(
        LinkConfig(
            manager=config.manager,
            token_file=config.token_file,
            host=config.host,
            address=config.address,
            session_file=files.session,
            tunnel_folder=files.tunnel,
            reach=config.reach,
            tunnel=config.tunnel,
        ),
        activity=Activity(),
        notifications=Notifications(),
    )
    egress = Egress(touch=link.touch)
    link.reach.listener = egress.offer
    link.over = egress.cut
    await egress.start()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service = DaemonService(link, egress, stop=stopping.set)
    server.add_generic_rpc_handlers((service.handlers(), ManagerProxy(link)))
    remove_stale_socket(files.socket)
    server.add_insecure_port(files.socket_address())
    files.socket.chmod(0o600)
    await server.start()
    log.info("daemon %d started, manager %s", os.getpid(), config.manager)
    holding = asyncio.create_task(link.run())
    holding.add_done_callback(_report_crash)
    try:
        await stopping.wait()
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await server.stop(grace=0.5)
        await link.channel.close()
        await egress.close()
        files.socket.unlink(missing_ok=True)
        log.info("daemon %d stopped", os.getpid())


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the session's task failed", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def run(config: DaemonConfig) -> int:
    """Be the daemon; returns the exit code."""
    os.umask(0o077)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    files = LaptopFiles.of(config.state)
    try:
        private_dir(files.folder)
        with only_one(files.pid):
            asyncio.run(serve(config))
    except TakenError as error:
        log.warning("another daemon (%s) runs for %s", error, files.folder)
        return ALREADY_RUNNING
    except (OSError, ValueError) as error:
        log.critical("the daemon cannot run: %s", error)
        return 1
    return 0
