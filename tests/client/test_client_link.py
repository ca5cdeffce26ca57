"""What the daemon makes of the manager's words."""

from __future__ import annotations

from pathlib import Path

from xds.api.byway.manager.v1 import ConnectReply, Notice
from xds.client.daemon.clock import Activity
from xds.client.daemon.link import Link, LinkConfig
from xds.client.daemon.notifications import Notifications


async def test_a_key_header_that_was_changed_since_connecting_is_the_one_that_is_shown(tmp_path: Path) -> None:
    config = LinkConfig("127.0.0.1:1", tmp_path / "token", "lap", "", tmp_path / "session.json", tmp_path / "tun")
    link = Link(config, activity=Activity(), notifications=Notifications())
    link.reply = ConnectReply(session_token="secret", epoch=3, key_name="x-old", key_value="ann-1")
    link._take(Notice())
    assert (link.reply.key_name, link.reply.key_value) == ("x-old", "ann-1")
    link._take(Notice(key_name="x-new", key_value="ann-1"))
    assert (link.reply.key_name, link.token, link.reply.epoch) == ("x-new", "secret", 3)
    await link.channel.close()
