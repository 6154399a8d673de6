"""A client secret that is a JWT, as Apple wants one: ES256 with the key of the developer's account."""

from typing import Any

import msgspec

from idp.signing import base64url, raw_signature


def sign(claims: dict[str, Any], private_key: Any, *, kid: str) -> str:
    """Sign the secret.

    Args:
        claims: all claims.
        private_key: P-256, of `cryptography`.
        kid: the id of the key.
    """
    parts = ({"alg": "ES256", "kid": kid, "typ": "JWT"}, claims)
    message = ".".join(base64url.encode(msgspec.json.encode(part)) for part in parts)
    return f"{message}.{base64url.encode(raw_signature.sign(message.encode(), private_key, 'ES256'))}"
