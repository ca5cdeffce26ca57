"""Who is who on the way to a laptop behind a gateway: certificates for gateways and sidecars, tokens for laptops.

    sidecar ──mTLS──▶ gateway ◀──TLS, token── laptop

The manager is the certificate authority. Sidecars and gateways get certificates of a day from it, with their other
resources; their keys are made in memory and never written. Laptops get tokens of a few minutes (JWT), which gateways
check by public keys that the manager tells them. Two secrets are kept, in files that the manager's user alone may read:
the authority's key, and the keys that sign tokens.
"""

from xds.manager.identity.authority import SERVER_NAME, Authority
from xds.manager.identity.errors import IdentityError
from xds.manager.identity.identity import Identity
from xds.manager.identity.keys import AUDIENCE, ISSUER, SigningKeys
from xds.manager.identity.rotation import TOKEN_SECONDS

__all__ = [
    "AUDIENCE",
    "ISSUER",
    "SERVER_NAME",
    "TOKEN_SECONDS",
    "Authority",
    "Identity",
    "IdentityError",
    "SigningKeys",
]
