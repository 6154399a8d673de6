"""The caller of a request, and the four outcomes of authentication: absent, authenticated, rejected, unavailable."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from idp_client.errors import AuthError, AuthUnavailable, InsufficientRoles, InsufficientScopes


class Team(Struct, frozen=True):
    """A team of the user; `role` is "admin", "member" or None, which means member."""

    id: str
    name: str
    external_ref: str | None = None
    role: str | None = None


class Domain(Struct, frozen=True):
    """A domain of the user."""

    id: str
    key: str
    name: str
    parent_domain_id: str | None = None


class User(Struct, frozen=True, gc=False):
    """The user of a caller.

    A token contains the roles at the time of signing. None means unknown: `teams` and `domains` are known only after
    online verification, and `roles` also if the token contains them.
    """

    id: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    avatar_url: str | None = None
    created_at: datetime | None = None
    roles: tuple[str, ...] | None = None
    teams: tuple[Team, ...] | None = None
    domains: tuple[Domain, ...] | None = None


class Caller(Struct, frozen=True, kw_only=True, gc=False):
    """An authenticated caller.

    Attributes:
        kind: "user", "api_key", "service_token", or "client" for a token of an OAuth client itself.
        scopes: of the credential (RFC 6749 section 3.3).
        token_id: the credential's id, for logs.
        name: of a service's credential.
        user: None for a service.
        expires: expiry of the credential, in seconds since 1970; None for never.
        source: "offline" if verified with the JWKS, "online" if verified by the service.
        encoded_claims: the token's claims as JSON, if verified offline.
    """

    kind: str
    scopes: tuple[str, ...]
    source: Literal["offline", "online"]
    token_id: str | None = None
    name: str | None = None
    user: User | None = None
    expires: float | None = None
    encoded_claims: bytes = b"{}"

    @property
    def claims(self) -> dict[str, Any]:
        """All claims of the token, if verified offline; a copy on each access."""
        return msgspec.json.decode(self.encoded_claims, type=dict[str, Any])

    def require(self, scopes: Iterable[str]) -> None:
        """Check that the caller has all of these scopes; no scope implies another, not even `admin` (S2-19).

        Raises:
            InsufficientScopes: a scope is missing.
        """
        required = tuple(scopes)
        missing = [scope for scope in required if scope not in self.scopes]
        if missing:
            raise InsufficientScopes(required, f"Missing scopes: {missing}")

    def require_roles(self, roles: Iterable[str]) -> None:
        """Check that the caller is a user with all of these roles; no role implies another, not even `admin`.

        Raises:
            InsufficientRoles: a role is missing, the caller is a service or an API key, or the roles are unknown.
        """
        required = tuple(roles)
        if not required:
            return
        if self.user is None:
            raise InsufficientRoles(required, "a service has no roles")
        if self.kind == "api_key":  # a key is limited to its scopes
            raise InsufficientRoles(required, "an API key has scopes, but not the roles of its owner")
        if self.user.roles is None:
            raise InsufficientRoles(
                required, "the token contains no roles, and the gate has no online client (Gate(online=…))"
            )
        if missing := [role for role in required if role not in self.user.roles]:
            raise InsufficientRoles(required, f"Missing roles: {missing}")

    @property
    def roles_are_unknown(self) -> bool:
        """Whether this is a user with unknown roles."""
        return self.user is not None and self.user.roles is None


class Absent(Struct, frozen=True):
    """The request has no credential."""


class Authenticated(Struct, frozen=True):
    """The credential is valid."""

    caller: Caller


class Rejected(Struct, frozen=True):
    """The credential is invalid (401), or there are two different ones (400). The caller does not become anonymous."""

    error: AuthError


class Unavailable(Struct, frozen=True):
    """The credential cannot be verified now (503)."""

    error: AuthUnavailable


Outcome = Absent | Authenticated | Rejected | Unavailable
ABSENT = Absent()
