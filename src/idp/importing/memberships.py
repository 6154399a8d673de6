"""Imports the members of teams, and the users of domains."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from idp.events.catalogue import EventType
from idp.events.shapes import DomainUserChanged, TeamMemberChanged
from idp.importing.batch import Batch
from idp.importing.directory import DOMAINS, TEAMS, Group
from idp.importing.import_file import Numbered
from idp.importing.owners import is_member, owners
from idp.importing.records import TeamMembership, UserDomain
from idp.importing.user_events import add
from idp.principal.sources import IMPORT


async def apply_team_memberships(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import memberships in teams."""
    await _apply_members(batch, records, TEAMS, "team_membership")


async def apply_user_domains(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import assignments to domains."""
    await _apply_members(batch, records, DOMAINS, "user_domain")


async def _apply_members(batch: Batch, records: Sequence[Numbered], group: Group, kind: str) -> None:
    users = await owners(batch, [each.record.user_id for each in records])  # type: ignore[attr-defined]
    ids = [getattr(each.record, group.member) for each in records]
    groups = {row["id"] for row in await batch.fetch(f"SELECT id FROM {group.table} WHERE id = ANY($1::uuid[])", ids)}  # noqa: S608
    wanted: dict[tuple[str, UUID], tuple[UUID, str | None]] = {}
    for each, group_id in zip(records, ids, strict=True):
        member = each.record
        assert isinstance(member, TeamMembership | UserDomain)
        if is_member(batch, each, kind, users.get(member.user_id)) and _has_group(batch, each, group, group_id, groups):
            role = member.role if isinstance(member, TeamMembership) else None
            wanted[users[member.user_id]["id"], group_id] = (member.id or uuid7(), role)
    await _write_members(batch, group, kind, wanted)


def _has_group(batch: Batch, record: Numbered, group: Group, group_id: UUID, groups: set[UUID]) -> bool:
    if group_id in groups:
        return True
    batch.conflict(
        record,
        "team_membership" if group is TEAMS else "user_domain",
        f"{group.kind}_unknown",
        seen=f"{group.member} {group_id}",
        exists=f"no such {group.kind}",
        action=f"import the {group.kind} first, or remove this line",
    )
    return False


async def _free_ids(batch: Batch, group: Group, ids: Sequence[UUID]) -> list[UUID]:
    """Return the ids, with new ones instead of those that another membership has."""
    taken = {row["id"] for row in await batch.fetch(f"SELECT id FROM {group.members} WHERE id = ANY($1::uuid[])", ids)}  # noqa: S608
    free: dict[UUID, None] = {}
    for each in ids:
        free[uuid7() if each in taken or each in free else each] = None
    return list(free)


async def _write_members(
    batch: Batch, group: Group, kind: str, wanted: Mapping[tuple[str, UUID], tuple[UUID, str | None]]
) -> None:
    if not wanted:
        return
    role, change = ("", "NOTHING")
    if group is TEAMS:
        role, change = ", role", "UPDATE SET role = excluded.role WHERE m.role IS DISTINCT FROM excluded.role"
    roles = ", $5::text[]" if group is TEAMS else ""
    ids = await _free_ids(batch, group, [each for each, _ in wanted.values()])
    names = f"user_id, {group.member}"
    stored = await batch.fetch(
        f"INSERT INTO {group.members} AS m (id, {names}{role}, source, created_at, updated_at) "  # noqa: S608
        f"SELECT *, '{IMPORT}', $4::timestamptz, $4::timestamptz"
        f"  FROM unnest($1::uuid[], $2::text[], $3::uuid[]{roles}) "
        f"ON CONFLICT ({names}) DO {change} RETURNING {names} AS group_id, xmax = 0 AS is_new",
        ids,
        [user_id for user_id, _ in wanted],
        [group_id for _, group_id in wanted],
        batch.now,
        *([[role for _, role in wanted.values()]] if group is TEAMS else []),
    )
    for row in stored:
        batch.report.count(kind, "created" if row["is_new"] else "updated")
        member = wanted[row["user_id"], row["group_id"]][1]
        if group is TEAMS:
            role_now = "admin" if member == "admin" else "member"
            type_ = EventType.TEAM_MEMBER_ADDED if row["is_new"] else EventType.TEAM_MEMBER_CHANGED
            data = TeamMemberChanged(user_id=row["user_id"], team_id=row["group_id"], role=role_now)  # type: ignore[arg-type]
            add(batch, type_, data, subject=row["user_id"])
        else:
            assigned = DomainUserChanged(user_id=row["user_id"], domain_id=row["group_id"])
            add(batch, EventType.DOMAIN_USER_ADDED, assigned, subject=row["user_id"])
    batch.report.count(kind, "skipped", len(wanted) - len(stored))
