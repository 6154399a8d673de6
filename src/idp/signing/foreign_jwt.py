"""Verifies the tokens of another issuer: signature, issuer, audience and times (SEC-18, SEC-20 to SEC-26)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from idp import checks, clock
from idp.checks import holds, require
from idp.errors import TokenExpired, TokenInvalid
from idp.settings_schema import OidcIssuer
from idp.signing import raw_signature
from idp.signing.compact import UnverifiedJwt
from idp.signing.remote_jwks import RemoteJwks

_LATEST = 253_402_300_799  # 9999-12-31, the last second of a Python date
# RFC 9068 and OpenID Connect Core; refresh, logout and DPoP tokens have other types (SEC-25).
_TYPES = frozenset({"jwt", "at+jwt"})
# Keycloak names the kind of a token in the payload, Cognito too.
_KINDS = frozenset({"bearer", "id"})
_USES = frozenset({"access", "id"})
# `events`: logout tokens and security events, also those of type JWT (RFC 8417). `cnf`: tokens bound to a key, so no
# bearer tokens (RFC 7800; SEC-63).
_REFUSED_CLAIMS = frozenset({"events", "cnf"})
_UNPUBLISHED = "signed with a key that the issuer does not publish"
_UNACCEPTED = "signed with an algorithm that is not accepted for this key"
_OTHER_KIND = "neither an access token nor an ID token, by its claims"
_BOUND = "a logout token, or bound to a key that the request does not prove"


class ForeignClaims(Struct, frozen=True):
    """The claims of a verified token, and its times.

    Attributes:
        issued_at: None if the token does not say it.
    """

    claims: Mapping[str, Any]
    expires_at: datetime
    issued_at: datetime | None = None


class ForeignIssuer:
    """One issuer whose tokens are accepted.

    Args:
        settings: issuer, audiences, leeway.
        keys: its signing keys.
    """

    def __init__(self, settings: OidcIssuer, keys: RemoteJwks) -> None:
        self.settings = settings
        self.keys = keys
        self.names = frozenset({settings.issuer, *settings.aliases})

    def owns(self, unverified: UnverifiedJwt) -> bool:
        """Whether a token names this issuer, exactly (SEC-24)."""
        issuer = unverified.claims.get("iss")
        return holds(isinstance(issuer, str) and issuer in self.names, "iss", issuer, self.names)

    async def verify(self, unverified: UnverifiedJwt) -> ForeignClaims:
        """Verify a token.

        Raises:
            TokenInvalid: a check failed; `__cause__` names it.
            TokenExpired: it has expired.
            DependencyUnavailable: its key is unknown, and the issuer is unreachable.
        """
        try:
            return await self._verify(unverified)
        except ValueError as error:
            checks.failed(error)
            raise TokenInvalid from error

    async def _verify(self, unverified: UnverifiedJwt) -> ForeignClaims:
        header, claims = unverified.header, unverified.claims
        _check_kind(header, claims)
        kid, algorithm = header.get("kid"), header.get("alg")
        is_text = isinstance(kid, str) and isinstance(algorithm, str)
        require(is_text, "kid and alg", [kid, algorithm], "two texts", "no kid, or no alg")
        kid, algorithm = str(kid), str(algorithm)
        key = await self.keys.find(kid)
        require(key is not None, "signing key", "published" if key else "not published", "published", _UNPUBLISHED)
        assert key is not None
        require(algorithm in key.algorithms, "alg", algorithm, key.algorithms, _UNACCEPTED)
        raw_signature.check(unverified.signed, unverified.signature, public_key=key.public_key, algorithm=algorithm)
        holds(True, "signature", "valid", "valid")
        if claims.get("iss") not in self.names:  # `owns` reports it
            raise ValueError("another issuer")
        self._check_audience(claims)
        expires_at = self._check_times(claims)
        issued_at = datetime.fromtimestamp(_seconds(claims, "iat"), UTC) if "iat" in claims else None
        return ForeignClaims(claims, expires_at, issued_at)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        """Check the audience: `aud`, or the client if access tokens have no `aud` (Cognito)."""
        audience = claims.get("aud")
        presented = {each for each in (audience if isinstance(audience, list) else [audience]) if isinstance(each, str)}
        if (
            audience is None
            and claims.get("token_use") == "access"
            and isinstance(client := claims.get("client_id"), str)
        ):
            presented.add(client)
        if self.settings.audience_from_client:
            presented |= {value for name in ("azp", "appid", "cid") if isinstance(value := claims.get(name), str)}
        accepted = self.settings.audience
        require(not presented.isdisjoint(accepted), "audience", presented, accepted, "meant for another audience")

    def _check_times(self, claims: Mapping[str, Any]) -> datetime:
        now, leeway = clock.timestamp(), self.settings.leeway_seconds
        expires = _seconds(claims, "exp")
        for name in ("iat", "nbf"):
            if name in claims:
                begins = _seconds(claims, name)
                if not checks.is_earlier(begins <= now + leeway, name, begins, now + leeway):
                    raise ValueError(f"{name} is in the future")
        if not checks.is_later(expires + leeway > now, "exp", expires, now - leeway):
            raise TokenExpired
        return datetime.fromtimestamp(expires, UTC)


def _check_kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Check that it is an access or ID token, and a bearer token."""
    typ, kind, use = header.get("typ", "JWT"), claims.get("typ", "Bearer"), claims.get("token_use", "access")
    is_token = str(typ).lower().removeprefix("application/") in _TYPES
    require(is_token, "typ", typ, _TYPES, "neither an access token nor an ID token, by typ")
    is_kind = str(kind).lower() in _KINDS and str(use) in _USES
    require(is_kind, "typ and token_use in the payload", [kind, use], _KINDS | _USES, _OTHER_KIND)
    refused = _REFUSED_CLAIMS & claims.keys()
    require(not refused, "events and cnf", refused or None, "absent", _BOUND)


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise ValueError(f"{name} is not a date")
    return int(value)
