"""The keys that sign laptops' tokens: kept in one file, told to gateways as a JWKS (RFC 7517), used by `sign`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from xds.manager.identity.errors import IdentityError
from xds.manager.identity.rotation import TOKEN_SECONDS, Keys, SigningKey, advance, signer
from xds.paths import write_private

ISSUER: Final = "byway"
AUDIENCE: Final = "byway-tunnel"
ALGORITHM: Final = "ES256"


class SigningKeys:
    """The keys in a file. `wall` says the time in seconds since the epoch."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        """Read them, or make the first one where there is no file. Raises IdentityError, OSError."""
        self._path = path
        self._wall = wall
        self._keys: Keys = _read(path)
        self.advance()

    def __repr__(self) -> str:
        return f"<SigningKeys {', '.join(key.id for key in self._keys)}>"

    def advance(self) -> bool:
        """Let keys come and go as time passes; says whether any did. Raises OSError, and then nothing changed."""
        keys = advance(self._keys, self._wall(), _make)
        if keys == self._keys:
            return False
        # What signs has to outlive this process: gateways would know a key that nobody has, or not know one that signs.
        write_private(self._path, _written(keys))
        self._keys = keys
        return True

    def sign(self, node: str, namespaces: Iterable[str]) -> tuple[str, float]:
        """A token for a node's tunnel and for these namespaces of the cluster, and how many seconds it is good for.

        Raises ValueError for a node without a name: an empty one would be let through by what compares it.
        """
        if not node:
            raise ValueError("a token has to name a node")
        now = self._wall()
        key = signer(self._keys, now)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": node,
            "ns": " ".join(namespaces),
            "exp": int(now + TOKEN_SECONDS),
        }
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.id}), TOKEN_SECONDS

    def jwks(self) -> str:
        """The public keys of every token that may be about, as JSON. No secret."""
        return json.dumps({"keys": [_public(key) for key in self._keys]})


def _make(signs_from: float) -> SigningKey:
    return SigningKey(secrets.token_hex(8), signs_from, ec.generate_private_key(ec.SECP256R1()))


def _public(key: SigningKey) -> dict[str, str]:
    found = ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return {"kid": key.id, "alg": ALGORITHM, "use": "sig"} | {name: str(value) for name, value in found.items()}


def _written(keys: Keys) -> str:
    rows = [
        {
            "id": key.id,
            "signs_from": key.signs_from,
            "key": key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        }
        for key in keys
    ]
    return json.dumps({"keys": rows}, indent=1) + "\n"


def _read(path: Path) -> Keys:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError:
        text = ""
    path.chmod(0o600)
    try:
        keys = tuple(_parsed(row) for row in json.loads(text)["keys"])
    except (ValueError, TypeError, KeyError) as error:
        keys, why = (), type(error).__name__
    else:
        why = "no key is in it"
    if not keys:
        # What the parsers say may hold parts of a key.
        raise IdentityError(
            f"{path} holds no signing keys: {why}; restore it from a copy, or remove it: new keys are made then, and "
            "laptops behind gateways reconnect"
        )
    return tuple(sorted(keys, key=lambda key: key.signs_from))


def _parsed(row: dict[str, object]) -> SigningKey:
    private = load_pem_private_key(str(row["key"]).encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise TypeError("not a P-256 key")
    return SigningKey(str(row["id"]), float(str(row["signs_from"])), private)
