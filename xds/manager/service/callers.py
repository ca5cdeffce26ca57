"""Who is calling, by the token in the call's metadata; and errors as gRPC statuses."""

from __future__ import annotations

from typing import NoReturn

import grpc
import grpc.aio

from xds.api.byway.manager import v1
from xds.api.rpc import Context, bearer_of
from xds.api.services import CONFLICT_KEY
from xds.manager.core import Manager
from xds.manager.store import StoreError
from xds.manager.tokens import Tokens, token_hash
from xds.registry import errors
from xds.registry.example import describe_request
from xds.registry.regex import ConditionError
from xds.registry.session import Session

STATUS: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (errors.InvalidError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotAllowedError, grpc.StatusCode.PERMISSION_DENIED),
    (errors.StaleEpochError, grpc.StatusCode.ABORTED),
    (errors.ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
    (ConditionError, grpc.StatusCode.INVALID_ARGUMENT),
    (StoreError, grpc.StatusCode.RESOURCE_EXHAUSTED),
)

HEAD, TAIL = 1000, 400
"""Bytes of a long message that are sent: what is wrong stands at its beginning, what to do at its end."""


class CallError(Exception):
    """Ends the call with a status and a sentence."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


class Callers:
    """Tells callers apart."""

    def __init__(self, manager: Manager, tokens: Tokens) -> None:
        self._manager = manager
        self.tokens = tokens

    def token(self, context: Context) -> str:
        """The call's token; raises CallError without one."""
        token = bearer_of(context.invocation_metadata())
        if not token:
            raise CallError(grpc.StatusCode.UNAUTHENTICATED, "the call has no token; run `byway connect`")
        return token

    def user(self, context: Context) -> str:
        """The user whose own token was presented."""
        user = self.tokens.user(self.token(context))
        if user is None:
            raise CallError(
                grpc.StatusCode.UNAUTHENTICATED, "the manager doesn't know this user token; is it of another manager?"
            )
        return user

    def session(self, context: Context) -> Session:
        """The session whose token was presented."""
        session = self.find_session(self.token(context))
        if session is None:
            raise CallError(grpc.StatusCode.UNAUTHENTICATED, "the session has ended; run `byway connect`")
        return session

    def find_session(self, token: str) -> Session | None:
        """The session that a token belongs to."""
        hashed = token_hash(token)
        return next((one for one in self._manager.state.sessions.values() if one.token_hash == hashed), None)

    def gateway(self, context: Context) -> str:
        """The gateway whose token was presented."""
        name = self.tokens.gateway(self.token(context))
        if name is None:
            raise CallError(grpc.StatusCode.UNAUTHENTICATED, "the manager knows no gateway with this token")
        return name

    def admin(self, context: Context) -> None:
        """Raises CallError unless the administrator's token was presented."""
        if not self.tokens.is_admin(self.token(context)):
            raise CallError(grpc.StatusCode.PERMISSION_DENIED, "this needs the administrator's token")


def _conflict(error: errors.ConflictError) -> v1.Conflict:
    """A conflict as programs read it."""
    conflict = error.conflict
    return v1.Conflict(
        intercept_id=conflict.intercept,
        owner=conflict.owner,
        yours=conflict.yours,
        port=conflict.port,
        idle_seconds=conflict.idle,
        witness=_brief(describe_request(conflict.witness)) if conflict.witness else "",
        proven=conflict.proven,
    )


def _brief(text: str) -> str:
    """Without its middle where it is long, since what it quotes may be of any length.

    A status is sent in headers, and gRPC's clients drop those of more than 8 KiB, status and all.
    """
    data = text.encode(errors="replace")
    if len(data) <= HEAD + TAIL:
        return text
    return f"{data[:HEAD].decode(errors='ignore')} … {data[-TAIL:].decode(errors='ignore')}"


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status that stands for an error; what has none is raised on."""
    if isinstance(error, CallError):
        await context.abort(error.status, _brief(str(error)))
    if isinstance(error, errors.ConflictError):
        detail = bytes(_conflict(error))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, _brief(str(error)), ((CONFLICT_KEY, detail),))
    for kind, status in STATUS:
        if isinstance(error, kind):
            await context.abort(status, _brief(str(error)))
    raise error
