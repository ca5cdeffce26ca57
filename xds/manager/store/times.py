"""From the registry's clock to the store's, and the benefit of the doubt.

The registry's clock begins anew with each process, so its times mean nothing on disk. What is kept instead is the
*store's clock*: the seconds that managers have been up on this file. The newest reading is written with every change
and once a minute. An idle age is the difference of two readings: downtime adds nothing to it, nor does a jump of the
wall clock, and one written reading brings the ages of all sessions up to date.

Activity is written when it is more than `LATENESS` newer than what is on disk, so at most once per `LATENESS` and
session, and the *first* activity after a pause always at once. So what is on disk is never more than `LATENESS` behind
what was answered, and a session that is loaded with that much taken off its idle age can't look more idle than it did.
(To take a minute off an age that is written at intervals would not do: somebody idle for an hour, active now, with the
manager killed before the next interval, would look idle for 59 minutes.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xds.manager.store.codec import intercept_to_dict, session_to_dict
from xds.registry.intercept import Intercept
from xds.registry.session import Session

LATENESS: Final = 60.0
"""How far a session's activity on disk may be behind, seconds."""


def shift_session(session: Session, by: float) -> Session:
    """The session with its times on another clock."""
    targets = {target: replace(report, since=report.since + by) for target, report in session.targets.items()}
    return replace(
        session,
        last_activity=session.last_activity + by,
        present_since=session.present_since + by,
        targets=targets,
    )


def shift_intercept(intercept: Intercept, by: float) -> Intercept:
    """The intercept with its times on another clock."""
    if intercept.displaced is None:
        return intercept
    return replace(intercept, displaced=replace(intercept.displaced, since=intercept.displaced.since + by))


def session_row(session: Session, shift: float) -> dict[str, object]:
    """What is stored of a session; `shift` leads to the store's clock."""
    return session_to_dict(shift_session(session, shift))


def intercept_row(intercept: Intercept, shift: float) -> dict[str, object]:
    """What is stored of an intercept; `shift` leads to the store's clock."""
    return intercept_to_dict(shift_intercept(intercept, shift))


def doubted(session: Session, now: float) -> Session:
    """A session just loaded, with the activity that may not have been written in its favour."""
    return replace(session, last_activity=min(now, session.last_activity + LATENESS))


def to_keep(session: Session, kept: Session | None) -> Session:
    """The session as it is to be on disk, where `kept` is there now.

    Activity that is not late enough stays as it is on disk: a session's benefit of the doubt must not be written, or
    each restart would add another.
    """
    if kept is None or session.last_activity - kept.last_activity > LATENESS:
        return session
    return replace(session, last_activity=kept.last_activity)


def same_but_passing(session: Session, kept: Session) -> bool:
    """Whether two sessions differ in nothing but activity and presence."""
    return session == replace(
        kept,
        last_activity=session.last_activity,
        present=session.present,
        present_since=session.present_since,
        returns=session.returns,
        targets=session.targets,
        tunnel=session.tunnel,
    )
