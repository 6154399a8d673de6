"""Authentication and authorization errors, with a status, a code and a public text.

The public text is vague; `reason` is for the log (RFC 6750 section 3.1, RFC 9457).
"""

import re
from collections.abc import Iterable

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")  # RFC 6749 section 3.3: allowed in a quoted string


class AuthError(Exception):
    """The base class. It never contains a credential.

    Args:
        reason: the exact reason, for the log.
        code: replaces the class's code.
        detail: replaces the class's public text.
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
        """The response headers of this error."""
        return {}


class NoCredential(AuthError):
    """The route requires authentication, and the request has no credential."""

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class TokenRejected(AuthError):
    """The presented credential is invalid."""

    code = "token_invalid"
    detail = "Invalid token"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class NotOurs(TokenRejected):
    """Not a JWT of this issuer: it can only be verified online."""


class TokenExpired(TokenRejected):
    """The token has expired."""

    code = "token_expired"
    detail = "Token expired"


class DevelopmentToken(TokenRejected):
    """A token of `idp dev`, and the verifier does not allow development tokens."""

    code = "development_token"
    detail = "This token was made by `idp dev`, and this service does not take those (allow_development=True would)."


class InsufficientScopes(AuthError):
    """The caller lacks a scope.

    Args:
        required: all scopes that the route requires.
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
    """The caller lacks a role.

    Args:
        required: all roles that the route requires.
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
    """The request has two different credentials."""

    status = 400
    code = "ambiguous_credentials"
    detail = "The request carries two explicit credentials that differ. Send one."


class AuthUnavailable(AuthError):
    """The credential cannot be verified, because the service or its JWKS is unreachable.

    Args:
        retry_after: seconds until a retry.
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
