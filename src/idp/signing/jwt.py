"""Sign and verify access tokens (RFC 9068, RFC 8725; SEC-20 to SEC-29, SEC-33).

Two profiles (C-05, C-06b). *Asymmetric*, the default: `at+jwt`, ES256 or RS256, `aud` set, verifiable with the JWKS.
*Shared secret*, for services that decode HS256 themselves: no `aud`, each family's documented format; such a token
never authorizes management.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry
from msgspec import Struct
from uuid_utils import uuid7

from idp import checks, clock
from idp.checks import holds, require
from idp.errors import DevelopmentToken, TokenExpired, TokenInvalid
from idp.settings import Profile, Secret
from idp.settings_schema import Tokens
from idp.signing import signed_jwt
from idp.signing.compact import UnverifiedJwt
from idp.signing.keyring import Keyring
from idp.signing.signing_key import SigningKey

FIRST_PARTY_CLIENT = "idp"  # `client_id` of tokens from our own login (RFC 9068 section 2.2 requires one)
FIRST_PARTY_SCOPES = ("openid", "profile", "email")
_SCOPE = " ".join(FIRST_PARTY_SCOPES)
_LEEWAY_SECONDS = 5  # for `iat` and `nbf` only; small, because the clocks are ours (SEC-23)
_MAX_SHARED_SECONDS = 3600 + _LEEWAY_SECONDS  # seconds; tokens.access_token_minutes is at most 60
_MAX_TIMESTAMP = 253_402_300_799  # 9999-12-31: maximum of datetime
_TYPE = "at+jwt"  # RFC 9068 section 2.1


class Family(StrEnum):
    """The old service whose routes issue the token; each family has its own shared secret (C-06)."""

    AUTH = "auth"  # S3: /auth/*
    API_AUTH = "api_auth"  # S4: /api/auth/*


class TokenUser(Struct, frozen=True):
    """User claims of a token."""

    id: str
    email: str | None
    email_verified: bool
    roles: tuple[str, ...] = ()


class TokenSession(Struct, frozen=True):
    """Session claims of a token, which never outlives its session (RFC 9068 section 2.2.1).

    `actor_id` is the administrator who acts as the user, the claim `act` (RFC 8693 section 4.1).
    """

    id: UUID
    auth_time: datetime
    amr: tuple[str, ...]
    acr: str
    expires_at: datetime
    actor_id: str | None = None


class IssuedToken(Struct, frozen=True):
    """A signed access token and its lifetime in seconds."""

    token: str
    expires_in: int
    jti: str

    def __repr__(self) -> str:
        return f"IssuedToken(jti={self.jti})"


class VerifiedClaims(Struct, frozen=True):
    """Claims of a token with verified signature, issuer, audience and times.

    `uid` is the user id, `session_id` the session, which must be active; legacy tokens have neither. `client_id` is the
    client that the token was issued to, None for our own tokens; without `uid` the token is the client's own.
    `resources` are those of `aud` if we are not among them (RFC 8707).
    """

    jti: str | None
    scopes: tuple[str, ...]
    expires_at: datetime
    shared_secret: bool
    uid: str | None
    legacy_email: str | None = None
    session_id: UUID | None = None
    client_id: str | None = None
    resources: tuple[str, ...] = ()


class TokenService:
    """Signs and verifies our access tokens.

    Args:
        issuer: the exact `iss` of every token.
        profile: development tokens carry a claim; production refuses them (rule 7).
    """

    def __init__(self, keyring: Keyring, settings: Tokens, *, issuer: str, profile: Profile) -> None:
        self._keyring = keyring
        self._settings = settings
        self.issuer = issuer
        self._audience = settings.audience or issuer
        self._life = timedelta(minutes=settings.access_token_minutes)
        self._profile = profile
        current = {Family.AUTH: settings.auth_jwt_secret, Family.API_AUTH: settings.jwt_secret}
        self._shared = {family: _oct(secret) for family, secret in current.items() if secret is not None}
        self._accepted = [*self._shared.values(), *(_oct(secret) for secret in settings.previous_jwt_secrets)]

    async def issue(
        self,
        user: TokenUser,
        family: Family,
        *,
        session: TokenSession | None = None,
        life: timedelta | None = None,
    ) -> IssuedToken:
        """Sign an access token in this family's format.

        Args:
            user: the user claims.
            family: the token format.
            session: its session.
            life: its lifetime; `tokens.access_token_minutes` by default.

        Raises:
            DatabaseUnavailable: the signing key could not be read or created.
        """
        shared = self._shared.get(family)
        if shared is not None and self._settings.algorithm in {None, "HS256"}:
            return self._sign_shared(user, family, shared, self._times(life, session))
        return await self.issue_asymmetric(user, session=session, life=life)

    async def issue_asymmetric(
        self, user: TokenUser, *, session: TokenSession | None = None, life: timedelta | None = None
    ) -> IssuedToken:
        """Sign an `at+jwt` (RFC 9068) with the key ring, regardless of shared secrets."""
        key = await self._keyring.signing_key()
        claims = {
            **self._times(life, session),
            "iss": self.issuer,
            "aud": self._audience,
            "sub": user.id,
            "uid": user.id,
            "client_id": FIRST_PARTY_CLIENT,
            "scope": _SCOPE,
            "email": user.email,
            "email_verified": user.email_verified,
        }
        if len(user.roles) <= self._settings.max_roles:  # keep headers below proxy limits
            claims["roles"] = list(user.roles)
        return self._to_issued_token(signed_jwt.sign(key, claims, typ=_TYPE), claims)

    async def issue_for_app(
        self,
        user: TokenUser,
        session: TokenSession,
        *,
        client_id: str,
        scopes: Sequence[str],
        resources: Sequence[str] = (),
    ) -> IssuedToken:
        """Sign an `at+jwt` that a user grants to a client (RFC 9068 section 2.2).

        Args:
            user: the user; their roles are in the token if the scope is.
            session: the client's session of the user.
            client_id: the client.
            scopes: granted scopes.
            resources: `aud` (RFC 8707); our own audience by default, and with the scope `openid`, for userinfo.

        Raises:
            DatabaseUnavailable: the signing key could not be read or created.
        """
        key = await self._keyring.signing_key()
        audience = [*resources] if resources and "openid" not in scopes else [*resources, self._audience]
        claims = {
            **self._times(None, session),
            "iss": self.issuer,
            "aud": audience if len(audience) > 1 else audience[0],
            "sub": user.id,
            "uid": user.id,
            "client_id": client_id,
            "scope": " ".join(scopes),
        }
        if "roles" in scopes and len(user.roles) <= self._settings.max_roles:
            claims["roles"] = list(user.roles)
        return self._to_issued_token(signed_jwt.sign(key, claims, typ=_TYPE), claims)

    async def issue_for_client(self, client_id: str, scopes: Sequence[str]) -> IssuedToken:
        """Sign an `at+jwt` of a client itself (RFC 6749 section 4.4, RFC 9068 section 2.2).

        Raises:
            DatabaseUnavailable: the signing key could not be read or created.
        """
        return self._sign_for_client(await self._keyring.signing_key(), client_id, scopes)

    def client_token_at_once(self, client_id: str, scopes: Sequence[str]) -> IssuedToken | None:
        """Return what `issue_for_client` returns, None if the signing key has to be read first."""
        key = self._keyring.loaded_key()
        return None if key is None else self._sign_for_client(key, client_id, scopes)

    def _sign_for_client(self, key: SigningKey, client_id: str, scopes: Sequence[str]) -> IssuedToken:
        claims = self._times(None, None)
        claims |= {
            "iss": self.issuer,
            "aud": self._audience,
            "sub": client_id,
            "client_id": client_id,
            "scope": " ".join(scopes),
        }
        return self._to_issued_token(signed_jwt.sign(key, claims, typ=_TYPE), claims)

    def _sign_shared(self, user: TokenUser, family: Family, key: OctKey, times: dict[str, Any]) -> IssuedToken:
        claims = times | {"uid": user.id}
        if family is Family.AUTH:
            claims |= {"sub": user.email or user.id, "email_verified": user.email_verified}
        else:
            claims |= {"sub": user.id, "type": "access", "roles": list(user.roles)}
        return self._to_issued_token(
            jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, key, algorithms=["HS256"]), claims
        )

    def _times(self, life: timedelta | None, session: TokenSession | None) -> dict[str, Any]:
        """Return the claims about times and the session."""
        now = clock.timestamp()
        expires = now + int((life or self._life).total_seconds())
        claims: dict[str, Any] = {"iat": now, "exp": expires, "jti": str(uuid7())}
        if session is not None:
            claims["exp"] = min(expires, int(session.expires_at.timestamp()))
            claims |= {"sid": str(session.id), "auth_time": int(session.auth_time.timestamp())}
            claims |= {"amr": list(session.amr), "acr": session.acr}
            if session.actor_id is not None:
                claims["act"] = {"sub": session.actor_id}
        if self._profile == "development":
            claims["idp_env"] = "development"
        return claims

    @staticmethod
    def _to_issued_token(token: str, claims: dict[str, Any]) -> IssuedToken:
        return IssuedToken(token=token, expires_in=claims["exp"] - claims["iat"], jti=claims["jti"])

    def owns(self, unverified: UnverifiedJwt) -> bool:
        """Whether a token claims our issuer, or is a shared-secret token without an issuer."""
        issuer = unverified.claims.get("iss")
        if issuer is None:
            algorithm = unverified.header.get("alg")
            owns = bool(self._accepted) and algorithm == "HS256"
            return holds(owns, "without iss: alg", algorithm, "HS256 and a configured shared secret")
        return holds(bool(issuer == self.issuer), "iss", issuer, self.issuer)

    async def verify(self, unverified: UnverifiedJwt) -> VerifiedClaims:
        """Verify a token that `owns` accepted.

        Raises:
            TokenInvalid: signature, type, issuer, audience or another claim is invalid; `__cause__` says which.
            TokenExpired: it has expired.
            DevelopmentToken: it was issued by `idp dev`, and this is production.
            DatabaseUnavailable: its key is not cached and PostgreSQL is unavailable.
        """
        try:
            if unverified.header.get("alg") == "HS256":
                return self._verify_shared(unverified)
            return await self._verify_asymmetric(unverified)
        except (JoseError, ValueError) as error:
            checks.failed(error)
            raise TokenInvalid from error

    async def _verify_asymmetric(self, unverified: UnverifiedJwt) -> VerifiedClaims:
        claims = unverified.claims
        await signed_jwt.check(unverified, self._keyring, typ=_TYPE, what="an access token")
        issuer, audience = claims.get("iss"), claims.get("aud")
        if issuer != self.issuer:  # `owns` reports it
            raise ValueError("wrong issuer")
        audiences = audience if isinstance(audience, list) else [audience]
        client_id = claims.get("client_id")
        is_of_app = "uid" in claims and client_id != FIRST_PARTY_CLIENT
        is_for_us = self._audience in audiences or (is_of_app and bool(audiences))  # our routes check `resources`
        require(is_for_us, "aud", audience, self._audience, "wrong audience")
        scopes = tuple(str(claims.get("scope", "")).split())
        if "uid" not in claims:
            return self._of_client(claims, scopes)
        checks.proves(f"user:{claims.get('uid')}")
        expires_at = self._check_times(claims)
        uid, jti, subject = _text(claims, "uid"), _text(claims, "jti"), _text(claims, "sub")
        require(subject == uid, "sub", subject, uid, "sub and uid differ")
        self._check_environment(claims)
        return VerifiedClaims(
            jti=jti,
            scopes=scopes,
            expires_at=expires_at,
            shared_secret=False,
            uid=uid,
            session_id=_session(claims),
            client_id=_text(claims, "client_id") if is_of_app else None,
            resources=() if self._audience in audiences else tuple(str(each) for each in audiences),
        )

    def _of_client(self, claims: dict[str, Any], scopes: tuple[str, ...]) -> VerifiedClaims:
        """Return the claims of a token without a user: its subject is the client (RFC 9068 section 2.2)."""
        client_id, jti, subject = _text(claims, "client_id"), _text(claims, "jti"), _text(claims, "sub")
        checks.proves(f"service:{client_id}")
        expires_at = self._check_times(claims)
        require(subject == client_id, "sub", subject, client_id, "sub and client_id differ, and there is no uid")
        self._check_environment(claims)
        return VerifiedClaims(
            jti=jti, scopes=scopes, expires_at=expires_at, shared_secret=False, uid=None, client_id=client_id
        )

    def _verify_shared(self, unverified: UnverifiedJwt) -> VerifiedClaims:
        typ = unverified.header.get("typ", "JWT")
        is_shared = "iss" not in unverified.claims and signed_jwt.media_type(typ) == "jwt"
        require(is_shared, "typ, without iss", typ, "JWT", "not a shared-secret token")
        claims = _first_match(unverified, self._accepted)
        holds(True, "signature", "valid", "valid under a shared secret")
        expires_at = self._check_times(claims)
        self._check_environment(claims)
        latest = clock.timestamp() + _MAX_SHARED_SECONDS
        if not checks.is_earlier(expires_at.timestamp() <= latest, "exp", int(expires_at.timestamp()), latest):
            raise ValueError(
                "expires later than the maximum lifetime of a shared-secret token"
            )  # forged by a holder of the secret
        kind = claims.get("type", "access")
        require("aud" not in claims and kind == "access", "type, without aud", kind, "access", "not an access token")
        if "uid" in claims:
            uid, session_id = _text(claims, "uid"), _session(claims)
            # A holder of the secret can forge tokens, but not sessions (SEC-24).
            require(session_id is not None, "sid", session_id, "a session", "no session")
            return VerifiedClaims(
                _text(claims, "jti"), (), expires_at, shared_secret=True, uid=uid, session_id=session_id
            )
        accepts = self._settings.accept_legacy
        require(accepts, "without uid: tokens.accept_legacy", accepts, True, "no uid, and tokens.accept_legacy is off")
        subject = _text(claims, "sub")
        legacy_email = None if claims.get("type") == "access" else subject
        legacy_id = subject if legacy_email is None else None
        return VerifiedClaims(None, (), expires_at, shared_secret=True, uid=legacy_id, legacy_email=legacy_email)

    def _check_times(self, claims: dict[str, Any]) -> datetime:
        now = clock.timestamp()
        expires = _number(claims, "exp")
        for name in ("iat", "nbf"):
            if name in claims:
                begins, latest = _number(claims, name), now + _LEEWAY_SECONDS
                if not checks.is_earlier(begins <= latest, name, begins, latest):
                    raise ValueError(f"{name} is in the future")
        if not checks.is_later(expires > now, "exp", expires, now):
            raise TokenExpired
        return datetime.fromtimestamp(expires, UTC)

    def _check_environment(self, claims: dict[str, Any]) -> None:
        is_refused = "idp_env" in claims and self._profile == "production"
        expected = "absent" if self._profile == "production" else "absent or development"
        if not holds(not is_refused, "idp_env", claims.get("idp_env"), expected):
            raise DevelopmentToken


def _oct(secret: Secret) -> OctKey:
    return OctKey.import_key(secret.reveal().encode())


def _verified_claims(unverified: UnverifiedJwt, key: Any, algorithm: str) -> dict[str, Any]:
    """Verify the signature with exactly this key and algorithm, and return the claims (SEC-20)."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return dict(jwt.decode(unverified.token, key, algorithms=[algorithm], registry=registry).claims)


def _first_match(unverified: UnverifiedJwt, keys: Sequence[OctKey]) -> dict[str, Any]:
    for key in keys:
        try:
            return _verified_claims(unverified, key, "HS256")
        except JoseError:
            continue
    raise ValueError("no shared secret verifies it")


def _number(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIMESTAMP:
        raise ValueError(f"{name} is not a date")
    return int(value)


def _session(claims: dict[str, Any]) -> UUID | None:
    return msgspec.convert(_text(claims, "sid"), UUID) if "sid" in claims else None


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512 or "\x00" in value:
        raise ValueError(f"{name} is not a text")
    return value
