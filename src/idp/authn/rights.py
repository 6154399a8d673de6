"""Where each role, team, domain and scope of a principal comes from, for explanations.

Memberships and roles carry their source; who granted them and when is in the audit records of the user. Rows of version
1.0 carry none: then the newest audit record tells, or the settings, or nothing does.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from idp.apikeys.scopes import ScopePolicy
from idp.db.reads import Reads
from idp.principal.model import AuthMethod, Principal, User
from idp.principal.permissions import USER
from idp.principal.sources import ADMIN, DEFAULT, RULE
from idp.settings_schema import Accounts

_CHANGES = """
SELECT action, actor, target, details::text AS details, "timestamp" FROM idp.audit_logs
 WHERE user_id = $1 AND action = ANY($2) ORDER BY "timestamp" DESC, id DESC LIMIT 500
"""
_ACTIONS = ["user.roles_changed", "team.member_added", "team.member_changed", "domain.user_added"]
_SOURCES = """
SELECT 'role' AS kind, role AS name, source FROM idp.user_roles WHERE user_id = $1
UNION ALL SELECT 'team', team_id::text, source FROM idp.team_memberships WHERE user_id = $1
UNION ALL SELECT 'domain', domain_id::text, source FROM idp.user_domains WHERE user_id = $1
"""
_KEY = "SELECT scopes, created_by, created_at FROM idp.api_keys WHERE id = $1"
Row = Any
Sources = dict[tuple[str, str], str | None]  # by kind, and the role or the id of the team or domain


class Right(Struct, frozen=True):
    """A role, team, domain or scope, and where it comes from.

    Attributes:
        kind: role, team, domain or scope.
        name: of the role or scope, name of the team, key of the domain.
        source: default (of a new account), seed, admin (or a command), rule (a claim rule of an issuer), claims of
            the token, key, settings, or unknown.
        held: whether it counts now; a scope of a key does not if nothing allows it any more.
        detail: the role in a team, or what allows a scope.
        by: who granted it, as in audit records; for a rule the issuer, `#` and the claim.
        at: when.
    """

    kind: str
    name: str
    source: str
    held: bool = True
    detail: str | None = None
    by: str | None = None
    at: datetime | None = None


class _RolesChanged(Struct, frozen=True):
    """Details of an audit record: the roles before and after."""

    roles: tuple[list[str], list[str]]


class Rights:
    """Finds the origin of rights.

    Args:
        reads: the audit records and keys.
        accounts: the teams and domains of new accounts.
        policy: the scopes that users may grant to their keys.
    """

    def __init__(self, reads: Reads, accounts: Accounts, policy: ScopePolicy) -> None:
        self._reads = reads
        self._accounts = accounts
        self._policy = policy

    async def of(self, principal: Principal, key: UUID | None) -> list[Right]:
        """Return every right of a principal.

        Args:
            principal: the principal.
            key: the row id of its API key or service token, if it is one.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        rights: list[Right] = []
        if principal.user is not None:
            changes = await self._reads.fetch(_CHANGES, principal.user.id, _ACTIONS)
            rows = await self._reads.fetch(_SOURCES, principal.user.id)
            sources = {(row["kind"], row["name"]): row["source"] for row in rows}
            rights += self._of_user(principal.user, sources, changes)
        rights += await self._scopes(principal, key)
        return rights

    def _of_user(self, user: User, sources: Sources, changes: list[Row]) -> Iterator[Right]:
        for role in user.roles:
            granted = next((row for row in changes if _grants_role(row, role)), None)
            source = sources.get(("role", role)) or _inferred(granted, is_default=role == USER)
            yield _right("role", role, source, granted)
        for team in user.teams:
            granted = _newest(changes, "team.member_", f"team:{team.id}")
            is_default = team.name in self._accounts.default_teams
            source = sources.get(("team", str(team.id))) or _inferred(granted, is_default=is_default)
            yield _right("team", team.name, source, granted, detail=team.role or "member")
        for domain in user.domains:
            granted = _newest(changes, "domain.user_", f"domain:{domain.id}")
            is_default = domain.key in self._accounts.default_domains
            source = sources.get(("domain", str(domain.id))) or _inferred(granted, is_default=is_default)
            yield _right("domain", domain.key, source, granted)

    async def _scopes(self, principal: Principal, key: UUID | None) -> list[Right]:
        credential = principal.credential
        if key is None:
            source = "settings" if credential.method == AuthMethod.ADMIN_TOKEN else "claims"
            return [Right("scope", scope, source) for scope in credential.scopes]
        rows = await self._reads.fetch(_KEY, key)
        roles = principal.user.roles if principal.user else ()
        return [
            Right(
                kind="scope",
                name=scope,
                source="key",
                held=scope in credential.scopes,
                detail=self._allows(scope, roles) if principal.user else None,
                by=row["created_by"],
                at=row["created_at"],
            )
            for row in rows
            for scope in row["scopes"]
        ]

    def _allows(self, scope: str, roles: tuple[str, ...]) -> str:
        allowed = self._policy.allowed_by(scope, roles)
        if allowed is None:
            return "no longer allowed to the user's keys"
        return "allowed to everyone's keys" if allowed == "everyone" else f"allowed by the role {allowed}"


def _right(kind: str, name: str, source: str, granted: Row | None, *, detail: str | None = None) -> Right:
    actor, at = (granted["actor"], granted["timestamp"]) if granted is not None else (None, None)
    if source.startswith(RULE):
        return Right(kind, name, "rule", detail=detail, by=source.removeprefix(RULE).rstrip("#"), at=at)
    return Right(kind, name, source, detail=detail, by=actor if source == ADMIN else None, at=at)


def _inferred(granted: Row | None, *, is_default: bool) -> str:
    """Return the source of a row for which none was recorded."""
    if granted is not None:
        return ADMIN
    return DEFAULT if is_default else "unknown"


def _newest(changes: list[Row], action: str, target: str) -> Row | None:
    return next((row for row in changes if row["action"].startswith(action) and row["target"] == target), None)


def _grants_role(row: Row, role: str) -> bool:
    if row["action"] != "user.roles_changed":
        return False
    before, after = msgspec.json.decode(row["details"], type=_RolesChanged).roles
    return role in after and role not in before
