"""Compares users of Clerk's list with what is stored."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.clerk.payloads import ClerkProfile
from idp.clerk.suspension import BANNED, LOCKED
from idp.users.email import email_key
from idp.users.identities import CLERK

_MAX_EXAMPLES = 50
_STORED = text("""
SELECT wanted.id AS clerk_id, c.clerk_id IS NOT NULL AS is_known, c.deleted_at_ms, c.suspension, c.plan AS clerk_plan,
       c.role AS clerk_role, u.id AS user_id, u.email, u.email_verified, u.name, u.avatar_url, u.plan, u.is_active,
       u.deleted_at
  FROM unnest(CAST(:ids AS text[])) AS wanted (id)
  LEFT JOIN idp.clerk_users c ON c.clerk_id = wanted.id
  LEFT JOIN idp.identities i ON i.provider = :clerk AND i.subject = wanted.id
  LEFT JOIN idp.users u ON u.id = i.user_id
""").bindparams(clerk=CLERK)
# Addresses that others have, and whether a webhook takes them away if Clerk has verified them for someone else.
_HELD = text("""
SELECT email_key, NOT email_verified
       OR EXISTS (SELECT FROM idp.identities i WHERE i.user_id = u.id AND i.provider = :clerk) AS yields
  FROM idp.users u
 WHERE email_key = ANY(CAST(:keys AS text[])) AND deleted_at IS NULL
""").bindparams(clerk=CLERK)
_LIVE = text("""
SELECT i.subject FROM idp.identities i JOIN idp.users u ON u.id = i.user_id
  LEFT JOIN idp.clerk_users c ON c.clerk_id = i.subject
 WHERE i.provider = :clerk AND u.deleted_at IS NULL
   AND (CAST(:since AS timestamptz) IS NULL OR c.seen_at IS NULL OR c.seen_at < :since)
 ORDER BY i.subject
""").bindparams(clerk=CLERK)


class Difference(Struct, frozen=True):
    """One user who differs.

    Attributes:
        kind: `missing` here, `changed` at Clerk, `deleted` at Clerk; `conflicting`: a repair cannot change it, because
            the user was deleted here, or another account keeps the address.
        clerk_id: the user at Clerk.
        members: what differs.
    """

    kind: str
    clerk_id: str
    members: tuple[str, ...] = ()


class Findings(Struct):
    """What a comparison found: numbers by kind, and the first differences."""

    compared: int = 0
    missing: int = 0
    changed: int = 0
    deleted: int = 0
    conflicting: int = 0
    examples: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """The number of users who differ."""
        return self.missing + self.changed + self.deleted + self.conflicting

    def add(self, found: Difference) -> None:
        """Count a difference."""
        setattr(self, found.kind, getattr(self, found.kind) + 1)
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(found)


async def compare(session: AsyncSession, profiles: Sequence[ClerkProfile], roles: Collection[str]) -> list[Difference]:
    """Return the users who differ.

    Args:
        session: any transaction.
        profiles: users of Clerk's list.
        roles: those that Clerk may grant.
    """
    rows = (await session.execute(_STORED, {"ids": [profile.id for profile in profiles]})).mappings()
    stored = {row["clerk_id"]: row for row in rows}
    found = [_difference(profile, stored[profile.id], roles) for profile in profiles]
    differing = [each for each in found if each is not None]
    return await _with_conflicts(session, differing, {profile.id: profile for profile in profiles})


async def live_ids(session: AsyncSession, *, unseen_since: Any = None) -> list[str]:
    """Return the ids at Clerk of all users who are not deleted; only those whom no repair has seen since a time."""
    return list(await session.scalars(_LIVE, {"since": unseen_since}))


def _difference(profile: ClerkProfile, row: Mapping[Any, Any], roles: Collection[str]) -> Difference | None:
    if row["deleted_at_ms"] is not None or row["deleted_at"] is not None:
        return Difference("conflicting", profile.id, ("deleted",))
    if row["user_id"] is None:
        return Difference("missing", profile.id)
    names = ("email", "email_verified", "name", "avatar_url")
    members = [name for name in names if row[name] != getattr(profile, name)]
    if profile.plan not in {None, row["plan"]} or profile.plan != row["clerk_plan"]:
        members.append("plan")
    if (profile.role if profile.role in roles else None) != row["clerk_role"]:
        members.append("role")
    if _is_suspension_wrong(profile, row):
        members.append("is_active")
    if not row["is_known"]:
        members.append("state")  # imported, or made by the first request
    return Difference("changed", profile.id, tuple(members)) if members else None


def _is_suspension_wrong(profile: ClerkProfile, row: Mapping[Any, Any]) -> bool:
    wanted = BANNED if profile.is_banned else LOCKED if profile.is_locked else None
    if wanted is None:
        return row["suspension"] is not None
    return bool(row["is_active"]) or row["suspension"] not in {None, wanted}


async def _with_conflicts(
    session: AsyncSession, found: list[Difference], profiles: Mapping[str, ClerkProfile]
) -> list[Difference]:
    """Return the differences; those about an address that another account keeps are conflicts."""
    keys = {
        each.clerk_id: email_key(email)
        for each in found
        if each.kind == "changed" and "email" in each.members and (email := profiles[each.clerk_id].email)
    }
    if not keys:
        return found
    rows = await session.execute(_HELD, {"keys": list(keys.values())})
    held: dict[str, bool] = {row.email_key: row.yields for row in rows}

    def is_kept(each: Difference) -> bool:
        key = keys.get(each.clerk_id)
        if key not in held or not set(each.members) <= {"email", "email_verified"}:
            return False
        return not (held[key] and profiles[each.clerk_id].email_verified)

    return [Difference("conflicting", each.clerk_id, each.members) if is_kept(each) else each for each in found]
