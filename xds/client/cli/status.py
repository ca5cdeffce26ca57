"""`byway status`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, pairs, show, styled
from xds.terminal.words import duration

if TYPE_CHECKING:
    from xds.api.byway.daemon.v1 import GetStatusReply

SHOWN_NOTIFICATIONS = 5


@click.command(short_help="Say how the connection and the session are.")
@common
@click.pass_context
def status(ctx: click.Context, state: StateDir, output: str) -> None:
    """Say how the connection and the session are, and what happened lately.

    Exits with 0 only while connected, else with 3.

    \b
    Examples:
      byway status
      byway status -o json | jq -r .key.value

    \b
    JSON:
      state (connected, reconnecting, refused, ended), detail, version, user, host, address,
      manager {address, version}, key {name, value}, daemon {pid},
      reach {way (tunnel, direct), tunnel (envoy, python), detail, gateways [{name, address, up, seconds, reason}], …},
      session {id, epoch, idle_seconds, expires_in_seconds, present, inactive, …},
      intercepts [as in `byway list --intercepts -o json`, traffic null], notifications [{seconds_ago, text, warning}]
    """
    from xds.client.cli.api import call_daemon
    from xds.client.cli.bringup import get_status
    from xds.terminal.failure import Exit

    reply = call_daemon(state, get_status)
    show(data(status_data(reply), output) if is_data(output) else status_text(reply, wide=output == "wide"))
    if reply.state != "connected":
        ctx.exit(Exit.NOT_CONNECTED)


def status_data(reply: GetStatusReply) -> dict[str, Any]:
    """The status for programs."""
    from xds.client.cli.reach import reach_data
    from xds.client.cli.views import intercept_data, seconds, session_data

    session = reply.session
    return {
        "state": reply.state,
        "detail": reply.detail,
        "version": reply.version,
        "user": reply.user,
        "host": reply.host,
        "address": reply.address,
        "manager": {"address": reply.manager_address, "version": reply.manager_version},
        "key": {"name": reply.key_name, "value": reply.key_value},
        "daemon": {"pid": reply.pid},
        "reach": reach_data(reply.reach),
        "session": {**session_data(session), "id": reply.session_id, "epoch": reply.epoch} if session else None,
        "intercepts": [intercept_data(each) for each in session.intercepts] if session else [],
        "notifications": [
            {"seconds_ago": seconds(each.seconds_ago), "text": each.text, "warning": each.warning}
            for each in reply.notifications
        ],
    }


def status_text(reply: GetStatusReply, *, wide: bool) -> str:
    """The status for people."""
    from xds.client.cli.reach import reach_lines
    from xds.client.cli.views import intercepts_table

    colour = "green" if reply.state == "connected" else "yellow" if reply.state == "reconnecting" else "red"
    version = f" (version {reply.manager_version})" if reply.manager_version else ""
    lines = [
        ("State", styled(reply.state, fg=colour) + (f": {reply.detail}" if reply.detail else "")),
        ("Manager", f"{reply.manager_address}{version}"),
        ("User", f"{reply.user}@{reply.host}" if reply.user else ""),
        ("Header", f"{reply.key_name}: {reply.key_value}" if reply.key_name else ""),
        ("Session", session_text(reply)),
        *(reach_lines(reply.reach, address=reply.address) if reply.state not in {"refused", "ended"} else []),
    ]
    if wide:
        lines += [
            ("Address", reply.address),
            ("Daemon", f"process {reply.pid}, version {reply.version}"),
            ("Session id", f"{reply.session_id}, epoch {reply.epoch}" if reply.session_id else ""),
        ]
    text = pairs(lines)
    if reply.session is not None and reply.session.intercepts:
        text += "\n" + intercepts_table(reply.session.intercepts, wide=wide, owners=False)
    shown = reply.notifications if wide else reply.notifications[-SHOWN_NOTIFICATIONS:]
    if shown:
        ages = [f"{duration(each.seconds_ago)} ago" for each in shown]
        wide_age = max(map(len, ages))
        text += "\nLately:\n"
        text += "".join(
            f"  {age.rjust(wide_age)}  {styled(each.text, fg='yellow') if each.warning else each.text}\n"
            for age, each in zip(ages, shown, strict=True)
        )
    return text


def session_text(reply: GetStatusReply) -> str:
    """When the session ends, in words. Not how long it was idle: this very command ended that."""
    session = reply.session
    if session is None or reply.state in {"refused", "ended"}:
        return ""
    return f"ends in {duration(session.expires_in_seconds)} without activity"
