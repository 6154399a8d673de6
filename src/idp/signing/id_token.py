"""ID tokens (OpenID Connect Core section 2) and logout tokens (Back-Channel Logout 1.0 section 2.4)."""

import hashlib
from contextlib import suppress
from typing import Any

from idp import clock
from idp.errors import TokenExpired
from idp.settings import Profile
from idp.signing import base64url, signed_jwt
from idp.signing.compact import UnverifiedJwt, parse
from idp.signing.foreign_jwt import check_times
from idp.signing.keyring import Keyring
from idp.signing.signing_key import Algorithm

_ID_TOKEN, _LOGOUT_TOKEN = "JWT", "logout+jwt"
_LEEWAY_SECONDS = 5  # for `iat` of our own tokens (SEC-23)


class IdTokens:
    """Signs and reads ID tokens.

    Args:
        keyring: signs them, with the client's algorithm.
        issuer: the exact `iss` of every token.
        profile: development tokens carry a claim; production refuses them (rule 7).
    """

    def __init__(self, keyring: Keyring, *, issuer: str, profile: Profile) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._profile = profile

    async def sign(self, claims: dict[str, Any], *, algorithm: str) -> str:
        """Sign an ID token.

        Args:
            claims: all claims except `iss` and `iat`.
            algorithm: `id_token_signed_response_alg` of the client, RS256 or ES256.

        Raises:
            DatabaseUnavailable: the signing key could not be read or created.
        """
        return await self._sign(claims, algorithm, _ID_TOKEN)

    async def sign_logout_token(self, claims: dict[str, Any], *, algorithm: str) -> str:
        """Sign a logout token; arguments and errors as `sign`."""
        return await self._sign(claims, algorithm, _LOGOUT_TOKEN)

    async def read_hint(self, token: str) -> dict[str, Any] | None:
        """Return the claims of an ID token that we issued, expired or not; None for anything else.

        Only a key that is still published verifies it; `read_old_hint` reads one whose key was retired.

        Args:
            token: as presented in `id_token_hint`.

        Raises:
            DatabaseUnavailable: the key must be read and PostgreSQL is unavailable.
        """
        try:
            unverified = parse(token)
            await signed_jwt.check(unverified, self._keyring, typ=_ID_TOKEN.lower(), what="an ID token")
            self._check_claims(unverified)
        except ValueError:
            return None
        return unverified.claims

    async def read_old_hint(self, token: str) -> dict[str, Any] | None:
        """Return the claims of an ID token whose key is not published any more; None for anything else.

        Nothing proves them: use them only for what anybody may ask. An app may keep an ID token for as long as its user
        is signed in, which is longer than a key that was rotated is published.

        Args:
            token: as presented in `id_token_hint`.

        Raises:
            DatabaseUnavailable: as `read_hint`.
        """
        try:
            unverified = parse(token)
            self._check_claims(unverified)
        except ValueError:
            return None
        kid, typ = unverified.header.get("kid"), unverified.header.get("typ")
        if not isinstance(kid, str) or signed_jwt.media_type(typ) != _ID_TOKEN.lower():
            return None
        return unverified.claims if await self._keyring.verification_key(kid) is None else None

    async def read_any_hint(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a hint that only says who should answer, so that it may be unproven."""
        return await self.read_hint(token) or await self.read_old_hint(token)

    def _check_claims(self, unverified: UnverifiedJwt) -> None:
        claims = unverified.claims
        if claims.get("iss") != self._issuer or "events" in claims:
            raise ValueError("another issuer, or no ID token")
        if not all(isinstance(value := claims.get(name), str) and value for name in ("sub", "aud")):
            raise ValueError("sub and aud are required")
        if "idp_env" in claims and self._profile == "production":
            raise ValueError("issued in development")
        with suppress(TokenExpired):  # a hint may have expired (OpenID Connect Core section 3.1.2.1)
            check_times(claims, leeway=_LEEWAY_SECONDS)

    async def _sign(self, claims: dict[str, Any], algorithm: str, typ: str) -> str:
        chosen: Algorithm = "ES256" if algorithm == "ES256" else "RS256"
        key = await self._keyring.signing_key(chosen)
        complete = {"iss": self._issuer, **claims, "iat": clock.timestamp()}
        if self._profile == "development":
            complete["idp_env"] = "development"
        return signed_jwt.sign(key, complete, typ=typ)


def at_hash(access_token: str) -> str:
    """Return `at_hash` of an access token: half of its SHA-256 (OpenID Connect Core section 3.1.3.6).

    Both algorithms of ID tokens, RS256 and ES256, prescribe SHA-256.
    """
    return base64url.encode(hashlib.sha256(access_token.encode()).digest()[:16])
