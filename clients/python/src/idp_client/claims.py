"""Validates the claims of an access token (RFC 9068 sections 2.2 and 4, RFC 8725; SEC-23 to SEC-25)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from idp_client.caller import Caller, User
from idp_client.errors import DevelopmentToken, NotOurs, TokenExpired, TokenRejected
from idp_client.json_object import Malformed, read_object

MAX_LEEWAY = 60.0  # seconds (SEC-23)
_LATEST = 253_402_300_799  # 9999-12-31, the maximum of datetime
_Date = Annotated[int, Meta(ge=0, le=_LATEST)] | Annotated[float, Meta(ge=0, le=_LATEST)]
_Text = Annotated[str, Meta(min_length=1, max_length=512)]


class Policy(Struct, frozen=True):
    """The tokens that a service accepts.

    Attributes:
        issuer: the exact `iss`.
        audience: `aud` must be or contain it.
        leeway: allowed clock difference (seconds).
        allow_development: whether to accept tokens of `idp dev`.
    """

    issuer: str
    audience: str
    leeway: float
    allow_development: bool


class AccessToken(Struct, gc=False, kw_only=True):
    """The validated claims, in the order in which the service encodes them; those with `UNSET` are optional."""

    iat: _Date
    exp: _Date
    jti: _Text
    sid: str | UnsetType = UNSET
    auth_time: int | UnsetType = UNSET
    amr: list[str] | UnsetType = UNSET
    acr: str | UnsetType = UNSET
    idp_env: str | UnsetType = UNSET
    iss: str
    aud: str | list[str]
    sub: _Text
    uid: _Text | UnsetType = UNSET
    client_id: _Text
    scope: str | UnsetType = UNSET
    email: str | UnsetType | None = UNSET
    email_verified: bool | UnsetType = UNSET
    roles: list[str] | UnsetType = UNSET
    nbf: _Date | UnsetType = UNSET


_decode = msgspec.json.Decoder(AccessToken).decode
_encode = msgspec.json.Encoder().encode


def read(payload: bytes, issuer: str) -> AccessToken:
    """Return the unverified claims of a payload with this issuer.

    Raises:
        NotOurs: `iss` is another issuer or missing.
        TokenRejected: the JSON is ambiguous, or a claim is missing or invalid.
    """
    try:
        token = _decode(payload)
        # Fast path: if encoding it again gives the same bytes, there are no duplicate or unknown members.
        if _encode(token) == payload and token.iss == issuer:
            return token
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # the slow path reports the reason
    return _read_any(payload, issuer)


def _read_any(payload: bytes, issuer: str) -> AccessToken:
    try:
        members = read_object(payload)
        if members.get("iss") != issuer:
            raise NotOurs("another issuer")
        return msgspec.convert(members, AccessToken)
    except (Malformed, msgspec.ValidationError, OverflowError) as error:
        raise TokenRejected(str(error)) from error


def check(token: AccessToken, policy: Policy, now: float) -> float:
    """Return until when (seconds since 1970) a verified token is accepted.

    Raises:
        TokenRejected: another audience, or contradictory claims.
        TokenExpired: the token has expired.
        DevelopmentToken: a token of `idp dev`, which the policy does not allow.
    """
    if token.aud != policy.audience and (isinstance(token.aud, str) or policy.audience not in token.aud):
        raise TokenRejected("another audience")
    if (token.uid is not UNSET and token.uid != token.sub) or "\x00" in token.sub + token.jti:
        raise TokenRejected("sub and uid differ, or sub or jti contains a null character")
    if token.idp_env is not UNSET and not policy.allow_development:
        raise DevelopmentToken("token of `idp dev`; this service does not accept development tokens")
    return _check_times(token, now, policy.leeway)


def caller_of(token: AccessToken, payload: bytes) -> Caller:
    """Return the caller of a validated token; the payload contains all of its claims."""
    user = None
    if token.uid is not UNSET:
        roles = None if token.roles is UNSET else tuple(token.roles)
        user = User(token.sub, token.email or None, token.email_verified is True, roles=roles)
    return Caller(
        kind="client" if user is None else "user",
        scopes=tuple((token.scope or "").split()),
        source="offline",
        token_id=token.jti,
        name=token.client_id if user is None else None,
        user=user,
        expires=token.exp,
        encoded_claims=payload,
    )


def _check_times(token: AccessToken, now: float, leeway: float) -> float:
    latest, good_until = now + leeway, token.exp + leeway
    if good_until <= now:
        raise TokenExpired("expired")
    if token.iat > latest or token.iat >= token.exp:
        raise TokenRejected("iat is in the future, or not before exp")
    if token.nbf is not UNSET and token.nbf > latest:
        raise TokenRejected("nbf is in the future")
    return good_until
