"""Encode a verdict as the responses of validate, validate-key, introspect and "me" (rule 3).

Each response is encoded once per verdict and cached with it.
"""

from collections.abc import Callable, Sequence

import msgspec

from idp import errors
from idp.authn.shapes import (
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
from idp.principal.model import Principal, User

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


def introspect(verdict: Verdict, issuer: str) -> bytes:
    """Return the response of RFC 7662: an inactive credential is exactly `{"active": false}` (SEC-57).

    Raises:
        IdpError: the credential could not be checked.
    """
    if verdict.principal is None:
        _decided(verdict)
        return INACTIVE
    return verdict.encoded("introspect", lambda verdict: _active(verdict, issuer))


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


def _active(verdict: Verdict, issuer: str) -> bytes:
    principal = _principal(verdict)
    user, credential = principal.user, principal.credential
    return _encode(
        IntrospectOut(
            active=True,
            scope=" ".join(credential.scopes),
            token_type="Bearer",  # noqa: S106
            exp=int(credential.expires_at.timestamp()) if credential.expires_at else None,
            sub=user.id if user else credential.id,
            iss=issuer,
            jti=credential.id,
            username=user.email if user else None,
            kind=kind_of(principal),
            name=credential.name,
            user=UserOut.of(user) if user else None,
        )
    )


# --- me --------------------------------------------------------------------------------------------------------------


def _user(verdict: Verdict) -> User:
    user = _principal(verdict).user
    assert user is not None
    return user


def _me(verdict: Verdict) -> bytes:
    return _encode(Me(**me_of(_user(verdict))))  # type: ignore[arg-type]


def _me_v1(verdict: Verdict) -> bytes:
    user = _user(verdict)
    own = {**me_of(user), "role": user.role.upper()}
    return _encode(MeV1(**own, createdAt=user.created_at, updatedAt=user.updated_at))  # type: ignore[arg-type]


def _me_api(verdict: Verdict) -> bytes:
    return _encode(MeApi(**me_of(_user(verdict))))  # type: ignore[arg-type]


ME: dict[str, tuple[str, Callable[[Verdict], bytes]]] = {
    "/auth/me": ("me", _me),
    "/v1/me": ("me_v1", _me_v1),
    "/api/auth/me": ("me_api", _me_api),
}


def me(verdict: Verdict, path: str) -> bytes:
    """Return "me" of a user, in the variant of this path (C-18)."""
    name, encode = ME[path]
    return verdict.encoded(name, encode)
