"""Imports teams, domains, and the users in them.

A name that is taken is a conflict, except by an entry of the seed that nobody uses: that one takes the imported id.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid7

from idp.events.catalogue import EventType
from idp.events.shapes import DomainChanged, DomainState, DomainUserChanged, TeamChanged, TeamMemberChanged, TeamState
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.linking import owners
from idp.importing.records import Domain, TeamMembership, UserDomain
from idp.importing.user_events import add
from idp.plain_text import unseen_character
from idp.principal.sources import IMPORT


class Group(Struct, frozen=True):
    """What differs between teams and domains.

    Attributes:
        kind: of the record.
        table: of the groups.
        name: the unique column.
        columns: further ones that are imported.
        members: the table of users in them.
        member: its column for the group.
    """

    kind: str
    table: str
    name: str
    columns: tuple[str, ...]
    members: str
    member: str


TEAMS = Group("team", "idp.teams", "name", ("external_ref", "is_active"), "idp.team_memberships", "team_id")
DOMAINS = Group("domain", "idp.domains", "key", ("name", "is_active"), "idp.user_domains", "domain_id")
_TYPES = {"is_active": "boolean", "external_ref": "text", "name": "text", "key": "text"}


async def apply_groups(batch: Batch, records: Sequence[Numbered], group: Group) -> None:
    """Import teams or domains; parents of domains follow when all exist."""
    columns = ("id", group.name, *group.columns)
    rows = [{name: getattr(each.record, name) for name in columns} for each in records]
    found = await batch.fetch(
        f"SELECT {', '.join(columns)} FROM {group.table} WHERE id = ANY($1::uuid[]) OR {group.name} = ANY($2::text[])",  # noqa: S608
        [row["id"] for row in rows],
        [row[group.name] for row in rows],
    )
    known = {row["id"]: dict(row) for row in found}
    holders: dict[str, UUID] = {row[group.name]: row["id"] for row in found}
    new, changed = [], []
    for record, row in zip(records, rows, strict=True):
        if not await _is_free(batch, group, record, row, holders, known):
            continue
        holders[row[group.name]] = row["id"]
        if row["id"] not in known:
            new.append(row)
        elif known[row["id"]] != row:
            changed.append(row)
        else:
            batch.report.count(group.kind, "skipped")
    await _write(batch, group, new, changed)


async def _is_free(
    batch: Batch,
    group: Group,
    record: Numbered,
    row: Mapping[str, Any],
    holders: Mapping[str, UUID],
    known: Mapping[UUID, Any],
) -> bool:
    name, row_id = row[group.name], row["id"]
    if found := unseen_character(name):
        batch.conflict(
            record,
            group.kind,
            "name_invalid",
            seen=f"the character {found}",
            exists="one line of visible text",
            action="correct the name",
        )
        return False
    holder = holders.get(name)
    if holder is None or holder == row_id:
        return True
    is_used = holder not in known or await batch.connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {group.members} WHERE {group.member} = $1)"  # noqa: S608
        f" OR EXISTS (SELECT FROM {group.table} WHERE id = $2)",  # the imported one exists under another name
        holder,
        row_id,
    )
    if not is_used:
        await _take_over(batch, group, holder, row)
        return True
    batch.conflict(
        record,
        group.kind,
        f"{group.name}_taken",
        seen=f"{group.name} {name!r} of {row_id}",
        exists=f"the {group.kind} {holder} has this {group.name}, and members",
        action=f"rename one of them, or replace the id in the file by {holder}",
    )
    return False


async def _take_over(batch: Batch, group: Group, holder: UUID, row: Mapping[str, Any]) -> None:
    """Free the name of a group without members, and remove the group; its children get the imported parent."""
    run = batch.connection.execute
    columns = ", ".join((group.name, *group.columns))
    await run(f"UPDATE {group.table} SET {group.name} = id::text WHERE id = $1", holder)  # noqa: S608
    await run(
        f"INSERT INTO {group.table} (id, {columns}, version, created_at, updated_at) "  # noqa: S608
        f"SELECT $2, $3, {', '.join(group.columns)}, 1, created_at, updated_at FROM {group.table} WHERE id = $1",
        holder,
        row["id"],
        row[group.name],
    )
    if group is DOMAINS:
        await run("UPDATE idp.domains SET parent_domain_id = $2 WHERE parent_domain_id = $1", holder, row["id"])
    await run(f"DELETE FROM {group.table} WHERE id = $1", holder)  # noqa: S608
    batch.report.note(f"{group.kind} of the seed without members replaced by the imported one with the same name")


async def _write(
    batch: Batch, group: Group, new: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]]
) -> None:
    columns = (group.name, *group.columns)
    arrays = ", ".join(f"${place}::{_TYPES[name]}[]" for place, name in enumerate(columns, start=2))
    rows = [*new, *changed]
    if not rows:
        return
    assignments = ", ".join(f"{name} = excluded.{name}" for name in columns)
    values = [[row[name] for row in rows] for name in columns]
    stored = await batch.fetch(
        f"INSERT INTO {group.table} AS g (id, {', '.join(columns)}, version, created_at, updated_at) "  # noqa: S608
        f"SELECT *, 1, ${len(columns) + 2}::timestamptz, ${len(columns) + 2}::timestamptz"
        f"  FROM unnest($1::uuid[], {arrays}) "
        f"ON CONFLICT (id) DO UPDATE SET {assignments}, version = g.version + 1, updated_at = excluded.updated_at "
        "RETURNING *",
        [row["id"] for row in rows],
        *values,
        batch.now,
    )
    batch.report.count(group.kind, "created", len(new))
    batch.report.count(group.kind, "updated", len(changed))
    ids = {row["id"] for row in new}
    for row in stored:
        _publish_group(batch, group, row, is_new=row["id"] in ids)


def _publish_group(batch: Batch, group: Group, row: Any, *, is_new: bool) -> None:
    changed = () if is_new else (group.name, *group.columns)
    if group is TEAMS:
        team = TeamState(**{name: row[name] for name in TeamState.__struct_fields__})
        type_ = EventType.TEAM_CREATED if is_new else EventType.TEAM_UPDATED
        add(batch, type_, TeamChanged(team=team, changed=changed), subject=f"team:{team.id}", sequence=team.version)
        return
    domain = DomainState(**{name: row[name] for name in DomainState.__struct_fields__})
    type_ = EventType.DOMAIN_CREATED if is_new else EventType.DOMAIN_UPDATED
    data = DomainChanged(domain=domain, changed=changed)
    add(batch, type_, data, subject=f"domain:{domain.id}", sequence=domain.version)


async def apply_teams(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import teams."""
    await apply_groups(batch, records, TEAMS)


async def apply_domains(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import domains, still without parents."""
    await apply_groups(batch, records, DOMAINS)


_PARENT = """
UPDATE idp.domains d SET parent_domain_id = $2, version = version + 1, updated_at = $3
 WHERE id = $1 AND parent_domain_id IS DISTINCT FROM $2
   AND NOT EXISTS (
       WITH RECURSIVE up AS (
           SELECT id, parent_domain_id FROM idp.domains WHERE id = $2
           UNION SELECT p.id, p.parent_domain_id FROM idp.domains p JOIN up ON p.id = up.parent_domain_id)
       SELECT FROM up WHERE id = $1)
RETURNING *
"""
_EXISTS = "SELECT id, parent_domain_id FROM idp.domains WHERE id = ANY($1::uuid[])"


async def apply_parents(batch: Batch, records: Sequence[Numbered]) -> None:
    """Set the parents of imported domains."""
    given = [each for each in records if isinstance(each.record, Domain)]
    ids = [each.record.id for each in given] + [each.record.parent_domain_id for each in given]  # type: ignore[attr-defined]
    known = {row["id"]: row["parent_domain_id"] for row in await batch.fetch(_EXISTS, [i for i in ids if i])}
    for each in given:
        domain = each.record
        assert isinstance(domain, Domain)
        if domain.id not in known or known[domain.id] == domain.parent_domain_id:
            continue
        parent = domain.parent_domain_id
        row = None
        if parent is None or parent in known:
            row = await batch.connection.fetchrow(_PARENT, domain.id, parent, batch.now)
        if row is None:
            batch.conflict(
                each,
                "domain",
                "parent_unknown" if parent not in known else "parent_in_circle",
                seen=f"parent_domain_id {parent}",
                exists="no such domain" if parent not in known else "it is below this domain",
                action="correct parent_domain_id; the domain itself was imported",
            )
        else:
            _publish_group(batch, DOMAINS, row, is_new=False)


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


def is_member(batch: Batch, record: Numbered, kind: str, user: Any) -> bool:
    """Whether a record's user exists; else it is reported. Records of deleted users are skipped."""
    if user is not None and not user["is_deleted"]:
        return True
    if user is not None:
        batch.report.count(kind, "skipped")
        batch.report.note(f"{kind} of a deleted user left out")
        return False
    batch.conflict(
        record,
        kind,
        "user_unknown",
        seen=f"user_id {record.record.user_id}",  # type: ignore[attr-defined]
        exists="no such user",
        action="import the user first, or remove this line",
    )
    return False


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
