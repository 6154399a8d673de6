"""Verifies Clerk's session tokens (SEC-18), v1 and v2.

The same keys sign other tokens of Clerk: OAuth access tokens, machine tokens, and tokens of JWT templates, whose claims
users may choose. Only session tokens authenticate here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Struct

from idp import checks
from idp.checks import holds, require
from idp.errors import ClerkSessionPending, ClerkTokenNotAccepted, TokenInvalid
from idp.settings_schema import Clerk
from idp.signing.compact import UnverifiedJwt
from idp.signing.foreign_jwt import Keys, check_signature, check_times
from idp.signing.remote_jwks import RemoteKey

ALGORITHM = "RS256"
_MIN_RSA_BITS = 2048
_MAX_SUBJECT = 255
# The header `cat` of session tokens, and what the others are.
_SESSION_CATEGORY = "cl_B7d4PD111AAA"
_CATEGORIES = {"cl_B7d4PD222AAA": "a token of a JWT template", "cl_B7d4PD333AAA": "a machine token"}
_OPAQUE = {"mt_": "a machine token", "oat_": "an OAuth access token", "ak_": "an API key"}


class ClerkSession(Struct, frozen=True):
    """A verified session token.

    Attributes:
        user_id: Clerk's id of the user.
        token_id: `jti`, None for tokens of version 1.
        expires_at: expiry of the token.
        auth_time: when the first factor was verified; None if unknown, and for an impersonator.
        has_second_factor: whether the session verified one.
        impersonator: who acts as this user, at Clerk; None if nobody.
    """

    user_id: str
    token_id: str | None
    expires_at: datetime
    auth_time: datetime | None
    has_second_factor: bool
    impersonator: str | None


class PemKey:
    """The instance's public key from the settings, whatever `kid` a token names.

    Args:
        pem: PEM; line breaks may be written as `\\n`.

    Raises:
        ValueError: it is not an RSA public key of 2048 bits or more.
    """

    def __init__(self, pem: str) -> None:
        try:
            public_key = load_pem_public_key(pem.replace("\\n", "\n").encode())
        except ValueError:
            raise ValueError("CLERK_JWT_KEY is not a public key in PEM: copy it from Clerk's dashboard") from None
        if not isinstance(public_key, RSAPublicKey) or public_key.key_size < _MIN_RSA_BITS:
            raise ValueError(f"CLERK_JWT_KEY is not an RSA key of {_MIN_RSA_BITS} bits or more")
        self._key = RemoteKey(public_key, frozenset({ALGORITHM}))

    async def find(self, _kid: str) -> RemoteKey:
        """Return the key."""
        return self._key

    async def find_newer(self, _kid: str, _known: RemoteKey) -> None:
        """Return None: the key is replaced in the settings."""


class ClerkTokens:
    """The session tokens of one Clerk instance.

    Args:
        issuer: its frontend API URL.
        settings: authorized parties and leeway.
        keys: its signing keys.
    """

    def __init__(self, issuer: str, settings: Clerk, keys: Keys) -> None:
        self.issuer = issuer
        self.keys = keys
        self._settings = settings

    def owns(self, unverified: UnverifiedJwt) -> bool:
        """Whether a token names this instance, exactly (SEC-24)."""
        issuer = unverified.claims.get("iss")
        return holds(bool(issuer == self.issuer), "iss", issuer, self.issuer)

    async def verify(self, unverified: UnverifiedJwt) -> ClerkSession:
        """Verify a session token.

        Raises:
            ClerkTokenNotAccepted: it is another kind of token.
            ClerkSessionPending: the sign-in is not complete.
            TokenInvalid: a check failed; `__cause__` names it.
            TokenExpired: it has expired.
            DependencyUnavailable: its key is unknown, and Clerk is unreachable.
        """
        check_kind(unverified)
        try:
            await check_signature(unverified, self.keys)
            checks.proves(f"identity:clerk {unverified.claims.get('sub')}")
            expires_at = check_times(unverified.claims, leeway=self._settings.leeway_seconds).expires_at
            self._check_party(unverified.claims)
            session = _session(unverified.claims, expires_at)
        except ValueError as error:
            checks.failed(error)
            raise TokenInvalid from error
        status = unverified.claims.get("sts")
        if not holds(status != "pending", "sts", status, "not pending"):
            raise ClerkSessionPending
        return session

    def _check_party(self, claims: Mapping[str, Any]) -> None:
        parties, party = self._settings.authorized_parties, claims.get("azp")
        if not parties or (party is None and self._settings.allow_missing_azp):
            return
        require(party in parties, "azp", party, parties, "made for another origin, or for none (azp)")


def check_opaque(token: str) -> None:
    """Refuse Clerk's tokens that are not JWTs.

    Raises:
        ClerkTokenNotAccepted: names the kind.
    """
    for prefix, kind in _OPAQUE.items():
        if token.startswith(prefix):
            raise _not_a_session(kind)


def check_kind(unverified: UnverifiedJwt) -> None:
    """Refuse other tokens under the same keys; before the signature, because the answer reveals nothing.

    Raises:
        ClerkTokenNotAccepted: names the kind.
    """
    header, claims = unverified.header, unverified.claims
    type_ = str(header.get("typ", "")).lower().removeprefix("application/")
    category = header.get("cat", _SESSION_CATEGORY)
    subject = str(claims.get("sub", ""))
    if category != _SESSION_CATEGORY:
        raise _not_a_session(_CATEGORIES.get(str(category), "a token of an unknown category"))
    if type_ == "at+jwt" or str(claims.get("jti", "")).startswith("oat_"):
        raise _not_a_session("an OAuth access token")
    if type_ != "jwt":
        raise _not_a_session("a token of another type")
    if "cnf" in claims:  # RFC 7800: no bearer token (SEC-63)
        raise _not_a_session("a token bound to a key")
    if subject.startswith("mch_"):
        raise _not_a_session("a machine token")
    if not subject.startswith("user_"):
        raise _not_a_session("a token that names no user")
    if not str(claims.get("sid", "")).startswith("sess_"):
        raise _not_a_session("a token of a JWT template")
    holds(True, "kind", "session token", "session token")


def _not_a_session(kind: str) -> ClerkTokenNotAccepted:
    holds(False, "kind", kind, "session token")
    return ClerkTokenNotAccepted(f"This is {kind} of Clerk, not a session token.")


def _session(claims: Mapping[str, Any], expires_at: datetime) -> ClerkSession:
    user_id, token_id = claims["sub"], claims.get("jti")
    if not isinstance(user_id, str) or len(user_id) > _MAX_SUBJECT or "\x00" in user_id:
        raise ValueError("sub is too long, or contains NUL")
    impersonator = _impersonator(claims)
    first, second = _ages(claims)
    return ClerkSession(
        user_id=user_id,
        token_id=token_id[:_MAX_SUBJECT] if isinstance(token_id, str) else None,
        expires_at=expires_at,
        auth_time=_before(claims.get("iat"), first) if impersonator is None else None,
        has_second_factor=second is not None,
        impersonator=impersonator,
    )


def _impersonator(claims: Mapping[str, Any]) -> str | None:
    """Return who acts as the user: `act.sub` (RFC 8693 section 4.1), which may be a person or an agent."""
    actor = claims.get("act")
    if actor is None:
        return None
    subject = actor.get("sub") if isinstance(actor, dict) else None
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or "\x00" in subject:
        raise ValueError("act names nobody")
    return subject


def _ages(claims: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return for how many minutes the first and the second factor have been verified; None for never or unknown."""
    ages = claims.get("fva")
    if not isinstance(ages, list) or len(ages) != 2 or not all(type(age) is int for age in ages):
        return None, None
    first, second = (age if 0 <= age <= 10**7 else None for age in ages)
    return first, second


def _before(issued_at: object, minutes: int | None) -> datetime | None:
    """Return the time so many minutes before `iat`, which is checked already."""
    if minutes is None or isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        return None
    return datetime.fromtimestamp(int(issued_at), UTC) - timedelta(minutes=minutes)
