"""Why a caller is not let in: facts with a status, a code and a public text.

The public text stays vague; `reason` is for the log (RFC 6750 section 3.1, RFC 9457).
"""

import re
from collections.abc import Iterable

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")  # RFC 6749 section 3.3: what may stand inside the quotes


class AuthError(Exception):
    """A refusal. Never holds a credential.

    Args:
        reason: what exactly is wrong, for the log.
        code: a more exact name than the class's own.
        detail: another public text.
    """

    status: int = 401
    code: str = "unauthenticated"
    detail: str = "Unauthorized"

    def __init__(self, reason: str = "", *, code: str | None = None, detail: str | None = None) -> None:
        self.code = code or self.code
        self.detail = detail or self.detail
        self.reason = reason or self.detail
        super().__init__(self.reason)

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that go with it."""
        return {}


class NoCredential(AuthError):
    """The route needs a caller and the request names none."""

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class TokenRejected(AuthError):
    """A credential was presented and is bad. It never counts as none."""

    code = "token_invalid"
    detail = "Invalid token"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class NotOurs(TokenRejected):
    """Not a JWT of this issuer: an offline verifier cannot say more about it, the service itself may."""


class TokenExpired(TokenRejected):
    """It was good once."""

    code = "token_expired"
    detail = "Token expired"


class DevelopmentToken(TokenRejected):
    """`idp dev` made it, and this service was not told that it is in development."""

    code = "development_token"
    detail = "This token was made by `idp dev`, and this service does not take those (allow_development=True would)."


class InsufficientScopes(AuthError):
    """The caller is known and lacks a scope.

    Args:
        required: every scope that the route needs.
    """

    status = 403
    code = "insufficient_scopes"
    detail = "Insufficient permissions"

    def __init__(self, required: Iterable[str], reason: str = "") -> None:
        self.required = tuple(required)
        text = f"Insufficient permissions. Required: {', '.join(self.required)}"
        super().__init__(reason, detail=text if self.required else None)

    @property
    def headers(self) -> dict[str, str]:
        challenge = 'Bearer error="insufficient_scope"'
        if self.required and all(_SCOPE.match(scope) for scope in self.required):
            challenge += f', scope="{" ".join(self.required)}"'
        return {"WWW-Authenticate": challenge}


class InsufficientRoles(AuthError):
    """The caller is known and lacks a role.

    Args:
        required: every role that the route needs.
    """

    status = 403
    code = "insufficient_roles"

    def __init__(self, required: Iterable[str], reason: str = "") -> None:
        self.required = tuple(required)
        super().__init__(reason, detail=f"Insufficient permissions. Required role: {', '.join(self.required)}")

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


class AmbiguousCredentials(AuthError):
    """Two explicit credentials that differ: which one the caller meant is unknown."""

    status = 400
    code = "ambiguous_credentials"
    detail = "The request carries two explicit credentials that differ. Send one."


class AuthUnavailable(AuthError):
    """Nothing was decided, because the service or its keys cannot be reached. Never "invalid".

    Args:
        retry_after: seconds after which asking again may help.
    """

    status = 503
    code = "auth_unavailable"
    detail = "The credential cannot be checked now. Try again shortly."

    def __init__(self, reason: str = "", *, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}
