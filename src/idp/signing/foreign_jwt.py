"""Verifies the tokens of another issuer: signature, issuer, audience and times (SEC-18, SEC-20 to SEC-26)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import Struct

from idp import checks, clock
from idp.checks import holds, require
from idp.errors import TokenExpired, TokenInvalid
from idp.settings_schema import OidcIssuer
from idp.signing import raw_signature
from idp.signing.compact import UnverifiedJwt
from idp.signing.remote_jwks import RemoteJwks, RemoteKey

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
_BOUND = "a logout token, or bound to a key that the request does not prove"


class Times(Struct, frozen=True):
    """The times of a token; `issued_at` is None if the token does not say it."""

    expires_at: datetime
    issued_at: datetime | None


class Keys(Protocol):
    """The signing keys of an issuer."""

    async def find(self, kid: str) -> RemoteKey | None:
        """Return the key of this id, None if the issuer has none.

        Raises:
            DependencyUnavailable: the keys are not known, and cannot be fetched now.
        """
        ...

    async def find_newer(self, kid: str, known: RemoteKey) -> RemoteKey | None:
        """Return the key that has replaced another under the same id, None if there is none."""
        ...


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
        is_bearer = _REFUSED_CLAIMS.isdisjoint(claims)
        require(is_bearer, "events and cnf", "absent" if is_bearer else "present", "absent", _BOUND)
        await check_signature(unverified, self.keys)
        if claims.get("iss") not in self.names:  # `owns` reports it
            raise ValueError("another issuer")
        self._check_audience(claims)
        times = check_times(claims, leeway=self.settings.leeway_seconds)
        return ForeignClaims(claims, times.expires_at, times.issued_at)

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


async def check_signature(unverified: UnverifiedJwt, keys: Keys) -> None:
    """Verify a token's signature with the issuer's key that it names.

    Raises:
        ValueError: it is invalid, or the key or algorithm is not accepted.
        DependencyUnavailable: the key is unknown, and the issuer is unreachable.
    """
    kid, algorithm = unverified.header.get("kid"), unverified.header.get("alg")
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        raise ValueError("no kid, or no alg")  # noqa: TRY004  a claim, not a type
    holds(True, "kid", kid)
    key = await keys.find(kid)
    require(key is not None, "signing key", "published" if key else "not published", "published", _UNPUBLISHED)
    assert key is not None
    try:
        _check_signature(unverified, key, algorithm)
    except ValueError:
        newer = await keys.find_newer(kid, key)
        if newer is None:
            raise
        _check_signature(unverified, newer, algorithm)


def _check_signature(unverified: UnverifiedJwt, key: RemoteKey, algorithm: str) -> None:
    require(algorithm in key.algorithms, "alg", algorithm, key.algorithms, _UNACCEPTED)
    raw_signature.check(unverified.signed, unverified.signature, public_key=key.public_key, algorithm=algorithm)
    holds(True, "signature", "valid", "valid")


def check_times(claims: Mapping[str, Any], *, leeway: int) -> Times:
    """Return the times of a token, after checking `exp`, `iat` and `nbf` with a leeway in seconds (SEC-23).

    Raises:
        ValueError: a time is missing, not a date, or in the future.
        TokenExpired: it has expired.
    """
    now = clock.timestamp()
    expires = _seconds(claims, "exp")
    issued = _seconds(claims, "iat") if "iat" in claims else None
    latest = now + leeway
    if issued is not None and not checks.is_earlier(issued <= latest, "iat", issued, latest):
        raise ValueError("iat is in the future")
    if "nbf" in claims:
        begins = _seconds(claims, "nbf")
        if not checks.is_earlier(begins <= latest, "nbf", begins, latest):
            raise ValueError("nbf is in the future")
    if not checks.is_later(expires + leeway > now, "exp", expires, now - leeway):
        raise TokenExpired
    issued_at = None if issued is None else datetime.fromtimestamp(issued, UTC)
    return Times(datetime.fromtimestamp(expires, UTC), issued_at)


def _check_kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    typ = header.get("typ", "JWT")
    is_token = str(typ).lower().removeprefix("application/") in _TYPES
    require(is_token, "typ", typ, _TYPES, "neither an access token nor an ID token, by typ")
    is_other_kind = "typ" in claims and str(claims["typ"]).lower() not in _KINDS
    if is_other_kind or ("token_use" in claims and str(claims["token_use"]) not in _USES):
        raise ValueError("neither an access token nor an ID token, by its claims")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is int and 0 <= value <= _LATEST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise ValueError(f"{name} is not a date")
    return int(value)
