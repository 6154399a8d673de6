"""The service's verdict on a credential, as a caller or an error (S2-17, S2-18, C-01)."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from idp_client.caller import Caller, User
from idp_client.errors import AuthError, InsufficientScopes, TokenExpired, TokenRejected

_TEXTS = {"token_revoked": "Token has been revoked", "token_not_found": "Invalid token"}


class TokenInfo(Struct, frozen=True, kw_only=True):
    """The service's verdict on a credential; unknown members are ignored.

    Attributes:
        kind: "user", "api_key" or "service_token", None if it is not valid.
        error: `token_not_found`, `token_revoked`, `token_expired`, `insufficient_scopes`, `token_invalid` or
            `user_inactive`; None if it is valid.
    """

    valid: bool
    scopes: list[str] = []
    token_id: str | None = None
    name: str | None = None
    kind: str | None = None
    user: User | None = None
    expires_at: datetime | None = None
    error: str | None = None
    detail: str | None = None


# An impossible credential is rejected without a request, so that it cannot appear as an outage.
IMPLAUSIBLE = TokenInfo(valid=False, error="token_invalid", detail="empty, too long, or not a Bearer token")


def error_of(info: TokenInfo, required_scopes: Sequence[str] = ()) -> AuthError:
    """Return the error for an invalid verdict: 403 for missing scopes, 401 otherwise (S2-18)."""
    reason = info.detail or ""
    if info.error == "insufficient_scopes":
        return InsufficientScopes(required_scopes, reason)
    if info.error == "token_expired":
        return TokenExpired(reason)
    detail = _TEXTS.get(info.error or "", "Authentication failed")
    return TokenRejected(reason, code=info.error or "token_invalid", detail=detail)


def caller_of(info: TokenInfo) -> Caller:
    """Return the caller of a verdict.

    Raises:
        AuthError: the credential is not valid.
    """
    if not info.valid:
        raise error_of(info)
    return Caller(
        kind=info.kind or "service_token",
        scopes=tuple(info.scopes),
        source="online",
        token_id=info.token_id,
        name=info.name,
        user=info.user,
        expires=info.expires_at.timestamp() if info.expires_at else None,
    )
