"""Encode a verdict as the responses of validate, validate-key, introspect and "me" (rule 3).

Each response is encoded once per verdict and cached with it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import structs

from idp import errors
from idp.authn.shapes import (
    Act,
    IntrospectOut,
    KeyVerdictCode,
    Me,
    MeApi,
    MeV1,
    UserOut,
    ValidateKeyOut,
    ValidateOut,
    VerdictCode,
    kind_of,
    me_of,
)
from idp.authn.verdicts import Verdict
from idp.errors import IdpError
from idp.principal.model import AuthMethod, Principal, User
from idp.signing.compact import parse

_encode = msgspec.json.Encoder().encode
# /auth/validate has six codes (C-01); any other error of a credential is "token_invalid" there.
_CODES: dict[str, VerdictCode] = {
    "token_not_found": "token_not_found",
    "user_not_synced": "token_not_found",
    "token_revoked": "token_revoked",
    "token_expired": "token_expired",
    "user_inactive": "user_inactive",
}
_KEY_CODES: dict[str, KeyVerdictCode] = {
    "token_not_found": "key_not_found",
    "token_revoked": "key_revoked",
    "token_expired": "key_expired",
    "user_inactive": "user_deleted",
}
_ACCESS_TOKENS = frozenset({AuthMethod.LOCAL_JWT, AuthMethod.OAUTH_TOKEN, AuthMethod.CLIENT})
INACTIVE = b'{"active":false}'


def validate(verdict: Verdict, token: str, required: Sequence[str]) -> tuple[bytes, str, str]:
    """Return the response of /auth/validate, and the credential's kind and the result for metrics.

    Args:
        verdict: the verdict.
        token: the credential.
        required: scopes that must all be granted: exact match, no wildcards (S2-19).

    Raises:
        IdpError: the credential could not be checked.
    """
    principal = verdict.principal
    if principal is None:
        error = _decided(verdict)
        code = _code(error, token)
        return _refusal(code, error.detail), "none", code
    if audience := principal.credential.audience:
        detail = f"This token is for {', '.join(audience)}; its resource server validates it offline or introspects it."
        return _refusal("token_invalid", detail), "none", "token_invalid"
    if required and (missing := [scope for scope in required if scope not in principal.credential.scopes]):
        return _refusal("insufficient_scopes", f"Missing scopes: {missing}"), "none", "insufficient_scopes"
    return verdict.encoded("validate", _valid), kind_of(principal), "valid"


def validate_key(verdict: Verdict, token: str) -> bytes:
    """Return the response of /internal/validate-key.

    Raises:
        IdpError: the credential could not be checked.
    """
    if verdict.principal is None:
        return _no_key(_KEY_CODES.get(_code(_decided(verdict), token), "key_invalid"))
    if kind_of(verdict.principal) == "user":
        return _no_key("key_invalid")  # a user's access token is not a key (S0-03)
    return verdict.encoded("validate_key", _valid_key)


def _no_key(error: KeyVerdictCode) -> bytes:
    return _encode(
        ValidateKeyOut(
            valid=False,
            user_id=None,
            scopes=(),
            rate_limit_tier=None,
            key_id=None,
            expires_at=None,
            error=error,
        )
    )


def introspect(verdict: Verdict, issuer: str, token: str) -> bytes:
    """Return the response of RFC 7662: an inactive credential is exactly `{"active": false}` (SEC-57).

    Raises:
        IdpError: the credential could not be checked.
    """
    if verdict.principal is None:
        _decided(verdict)
        return INACTIVE
    return verdict.encoded("introspect", lambda verdict: _encode(_active(verdict, issuer, token)))


def introspect_for_client(verdict: Verdict, issuer: str, token: str, *, client_id: str, serves: Sequence[str]) -> bytes:
    """Return the response for an OAuth client: without the user's record, and only about tokens that concern it.

    These are access tokens of this service that were issued to it, or whose `aud` has a resource that it serves; any
    other credential is inactive (RFC 7662 section 2.2, SEC-57).

    Args:
        verdict: the verdict.
        issuer: our issuer.
        token: the credential.
        client_id: the client that asks.
        serves: the resources that it serves.

    Raises:
        IdpError: the credential could not be checked.
    """
    if verdict.principal is None:
        _decided(verdict)
        return INACTIVE

    def encode(verdict: Verdict) -> bytes:
        found = _active(verdict, issuer, token)
        audience = {found.aud} if isinstance(found.aud, str) else set(found.aud or ())
        if found.client_id != client_id and audience.isdisjoint(serves):
            return INACTIVE
        return _encode(structs.replace(found, username=None, kind=None, name=None, user=None))

    return verdict.encoded(f"introspect for {client_id} with {serves}", encode)


def _decided(verdict: Verdict) -> IdpError:
    assert verdict.error is not None
    if verdict.unknown:
        raise verdict.error
    return verdict.error


def _code(error: IdpError, token: str) -> VerdictCode:
    if isinstance(error, errors.CredentialUnrecognised) and token.count(".") != 2:
        return "token_not_found"  # not a JWT: S2's clients expect this code
    return _CODES.get(error.code, "token_invalid")


def _refusal(code: VerdictCode, detail: str) -> bytes:
    return _encode(
        ValidateOut(
            valid=False,
            kind=None,
            scopes=(),
            token_id=None,
            name=None,
            client_id=None,
            user=None,
            expires_at=None,
            error=code,
            detail=detail,
        )
    )


def _principal(verdict: Verdict) -> Principal:
    assert verdict.principal is not None
    return verdict.principal


def _valid(verdict: Verdict) -> bytes:
    principal = _principal(verdict)
    credential = principal.credential
    return _encode(
        ValidateOut(
            valid=True,
            kind=kind_of(principal),
            scopes=credential.scopes,
            token_id=credential.id,
            name=credential.name,
            client_id=credential.client_id,
            user=UserOut.of(principal.user) if principal.user else None,
            expires_at=credential.expires_at,
            error=None,
            detail=None,
        )
    )


def _valid_key(verdict: Verdict) -> bytes:
    principal = _principal(verdict)
    user, credential = principal.user, principal.credential
    return _encode(
        ValidateKeyOut(
            valid=True,
            user_id=user.id if user else None,
            scopes=credential.scopes,
            rate_limit_tier=user.plan if user else None,
            key_id=credential.id,
            expires_at=credential.expires_at,
            error=None,
        )
    )


def _active(verdict: Verdict, issuer: str, token: str) -> IntrospectOut:
    principal = _principal(verdict)
    user, credential = principal.user, principal.credential
    claims = _claims_of(principal, issuer, token)
    audience = claims.get("aud")
    return IntrospectOut(
        active=True,
        scope=" ".join(credential.scopes),
        token_type="Bearer",  # noqa: S106
        exp=int(credential.expires_at.timestamp()) if credential.expires_at else None,
        sub=user.id if user else credential.id,
        iss=issuer,
        jti=claims.get("jti", credential.id),
        username=user.email if user else None,
        kind=kind_of(principal),
        name=credential.name,
        user=UserOut.of(user) if user else None,
        client_id=claims.get("client_id"),
        aud=tuple(audience) if isinstance(audience, list) else audience,
        iat=claims.get("iat"),
        act=Act.of(credential),
    )


def _claims_of(principal: Principal, issuer: str, token: str) -> dict[str, Any]:
    """Return the claims of an accepted access token of this service; none for any other credential."""
    if principal.credential.method not in _ACCESS_TOKENS or token.count(".") != 2:
        return {}
    claims = parse(token).claims
    return claims if claims.get("iss") == issuer else {}  # without `iss`: signed with a shared secret


# --- me --------------------------------------------------------------------------------------------------------------


def _user(verdict: Verdict) -> User:
    user = _principal(verdict).user
    assert user is not None
    return user


def _me(verdict: Verdict) -> bytes:
    return _encode(Me(**me_of(_principal(verdict))))  # type: ignore[arg-type]


def _me_v1(verdict: Verdict) -> bytes:
    user = _user(verdict)
    own = {**me_of(_principal(verdict)), "role": user.role.upper()}
    return _encode(MeV1(**own, createdAt=user.created_at, updatedAt=user.updated_at))  # type: ignore[arg-type]


def _me_api(verdict: Verdict) -> bytes:
    return _encode(MeApi(**me_of(_principal(verdict))))  # type: ignore[arg-type]


ME: dict[str, tuple[str, Callable[[Verdict], bytes]]] = {
    "/auth/me": ("me", _me),
    "/v1/me": ("me_v1", _me_v1),
    "/api/auth/me": ("me_api", _me_api),
}


def me(verdict: Verdict, path: str) -> bytes:
    """Return "me" of a user, in the variant of this path (C-18)."""
    name, encode = ME[path]
    return verdict.encoded(name, encode)
