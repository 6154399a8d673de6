"""Who is calling, and the four things that can be said about a request. Never None, never a bool."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from idp_client.errors import AuthError, AuthUnavailable, InsufficientRoles, InsufficientScopes


class Team(Struct, frozen=True):
    """A team that the user is in; `role` is "admin", "member" or None (= member)."""

    id: str
    name: str
    external_ref: str | None = None
    role: str | None = None


class Domain(Struct, frozen=True):
    """A domain that the user works in."""

    id: str
    key: str
    name: str
    parent_domain_id: str | None = None


class User(Struct, frozen=True, gc=False):
    """The person behind the call.

    A token says who it is and which roles they had when it was signed. `teams` and `domains` are None, which means
    unknown, unless the service was asked; so are `roles` where the token names none.
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
    """Who is calling.

    Attributes:
        kind: "user", "api_key", "service_token", or "client" for a token of an OAuth client's own.
        scopes: what the credential may do (RFC 6749 section 3.3).
        token_id: the credential's own id, for logs.
        name: a service credential's name.
        user: the person behind it, None for a service.
        expires: when the credential ends, in seconds since 1970; None for never.
        source: "offline" where the keys decided, "online" where the service did.
        encoded_claims: the token's claims as JSON, where the keys decided.
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
        """All claims of the token, where the keys decided; a copy on each access."""
        return msgspec.json.decode(self.encoded_claims, type=dict[str, Any])

    def require(self, scopes: Iterable[str]) -> None:
        """Check that the caller holds all of these scopes: plain membership, `admin` implies nothing (S2-19).

        Raises:
            InsufficientScopes: one is missing.
        """
        required = tuple(scopes)
        missing = [scope for scope in required if scope not in self.scopes]
        if missing:
            raise InsufficientScopes(required, f"Missing scopes: {missing}")

    def require_roles(self, roles: Iterable[str]) -> None:
        """Check that the caller is a user with all of these roles: plain membership, `admin` implies nothing.

        Raises:
            InsufficientRoles: one is missing, the caller is a service or an API key, or the roles are unknown.
        """
        required = tuple(roles)
        if not required:
            return
        if self.user is None:
            raise InsufficientRoles(required, "a service has no roles")
        if self.kind == "api_key":  # what was given a scope must not do what its owner may
            raise InsufficientRoles(required, "an API key has its scopes, and not the roles of its owner")
        if self.user.roles is None:
            raise InsufficientRoles(required, "the token names no roles, and nothing can be asked (Gate(online=…))")
        if missing := [role for role in required if role not in self.user.roles]:
            raise InsufficientRoles(required, f"Missing roles: {missing}")

    @property
    def roles_are_unknown(self) -> bool:
        """Whether this is a user whose roles only the service knows."""
        return self.user is not None and self.user.roles is None


class Absent(Struct, frozen=True):
    """The request carries no credential."""


class Authenticated(Struct, frozen=True):
    """The credential is good, and this is whose it is."""

    caller: Caller


class Rejected(Struct, frozen=True):
    """A credential is there and bad: 401, or 400 for two that differ. The caller does not become anonymous."""

    error: AuthError


class Unavailable(Struct, frozen=True):
    """A credential is there and cannot be checked now: 503."""

    error: AuthUnavailable


Outcome = Absent | Authenticated | Rejected | Unavailable
ABSENT = Absent()
