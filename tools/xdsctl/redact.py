"""Secrets are never shown: what Envoy's protos mark as sensitive is replaced, whatever it is.

Of a Secret nothing is left but its name and which kind it is. Elsewhere the fields of these names go, since the same
messages occur inside of clusters and listeners (https://www.envoyproxy.io/docs/envoy/latest/api-v3/, "sensitive").
"""

from __future__ import annotations

from typing import Any, Final

HIDDEN: Final = "[redacted]"
SECRET: Final = "extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name
SENSITIVE: Final = frozenset(
    {
        *("private_key", "password", "pkcs12", "session_ticket_keys", "generic_secret", "generic_secrets"),
        *("access_token", "client_secret", "token_secret", "hmac_secret", "session_token", "secret_access_key"),
    }
)
"""Names of fields that hold a secret, by value or in a DataSource."""
USERS: Final = "http.basic_auth.v3.BasicAuth"
"""Its `users` are names with hashes of passwords."""


def redacted(body: Any) -> Any:
    """The JSON of a resource without what is secret in it."""
    if isinstance(body, dict):
        kind = str(body.get("@type", ""))
        if kind.endswith(SECRET):
            return {key: value if key in {"@type", "name"} else HIDDEN for key, value in body.items()}
        users = kind.endswith(USERS)
        return {
            key: _hidden(value) if key in SENSITIVE or (users and key == "users") else redacted(value)
            for key, value in body.items()
        }
    return [redacted(each) for each in body] if isinstance(body, list) else body


def _hidden(value: Any) -> Any:
    """Where a secret comes from by name is no secret, and says what is wrong when it is missing."""
    if isinstance(value, dict):
        return {key: inner if key in {"filename", "sds_config"} else _hidden(inner) for key, inner in value.items()}
    return [_hidden(each) for each in value] if isinstance(value, list) else HIDDEN
