"""Imports teams and domains.

A name that is taken is a conflict, except by an entry of the seed that nobody uses: that one takes the imported id.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from idp.events.catalogue import EventType
from idp.events.shapes import DomainChanged, DomainState, TeamChanged, TeamState
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.records import Domain
from idp.importing.user_events import add
from idp.plain_text import unseen_character


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


class _Stored(Struct, frozen=True):
    """Stored groups by id, and the id of each name; new names are added."""

    known: dict[UUID, dict[str, Any]]
    holders: dict[str, UUID]


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
    stored = _Stored(known, {row[group.name]: row["id"] for row in found})
    new, changed = [], []
    for record, row in zip(records, rows, strict=True):
        if not await _is_free(batch, group, record, row, stored):
            continue
        stored.holders[row[group.name]] = row["id"]
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
    stored: "_Stored",
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
    holder = stored.holders.get(name)
    if holder is None or holder == row_id:
        return True
    is_used = holder not in stored.known or await batch.connection.fetchval(
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
