"""Teams: make, rename, deactivate (S3-72). Every function works inside the caller's transaction."""

from typing import Any
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.db.engine import violated_constraint
from idp.directory.models import TeamRow
from idp.directory.shapes import NewTeam, TeamChange, TeamOut
from idp.errors import TeamNameTaken, TeamNotFound


async def list_active(session: AsyncSession, *, limit: int | None, offset: int) -> tuple[list[TeamOut], int]:
    """Return active teams by name, all of them or a page, and how many there are."""
    total = await session.scalar(select(func.count()).select_from(TeamRow).where(TeamRow.is_active))
    rows = await session.scalars(
        select(TeamRow).where(TeamRow.is_active).order_by(TeamRow.name, TeamRow.id).limit(limit).offset(offset)
    )
    return [_out(row) for row in rows], total or 0


async def get(session: AsyncSession, team_id: UUID) -> TeamOut:
    """Return a team, active or not.

    Raises:
        TeamNotFound: there is none of this id.
    """
    return _out(await _get(session, team_id))


async def hold(session: AsyncSession, team_id: UUID) -> None:
    """Let nobody else change a team or who is in it until the commit; of several at once each sees the one before.

    Raises:
        TeamNotFound: there is none of this id.
    """
    await _get(session, team_id, lock=True)


async def create(session: AsyncSession, origin: Origin, new: NewTeam) -> TeamOut:
    """Make a team.

    Raises:
        TeamNameTaken: a team, active or not, has this name.
    """
    row = TeamRow(name=new.name, external_ref=new.external_ref)
    session.add(row)
    await _flush(session)
    record(session, origin, action="team.created", target=f"team:{row.id}", details={"name": row.name})
    return _out(row)


async def change(session: AsyncSession, origin: Origin, team_id: UUID, wanted: TeamChange) -> TeamOut:
    """Change what is given.

    Raises:
        TeamNotFound: there is none of this id.
        TeamNameTaken: another team has this name.
    """
    row = await _get(session, team_id, lock=True)
    changed: dict[str, Any] = {}
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if value is not UNSET and value != getattr(row, name):
            changed[name] = [getattr(row, name), value]
            setattr(row, name, value)
    await _flush(session)
    if changed:
        record(session, origin, action=_verb(changed), target=f"team:{row.id}", details=changed)
    return _out(row)


def _verb(changed: dict[str, Any]) -> str:
    if "is_active" in changed:
        return "team.activated" if changed["is_active"][1] else "team.deactivated"
    return "team.renamed" if "name" in changed else "team.changed"


async def _get(session: AsyncSession, team_id: UUID, *, lock: bool = False) -> TeamRow:
    # Not against who joins it, which only needs it to exist.
    row = await session.get(TeamRow, team_id, with_for_update={"key_share": True} if lock else None)
    if row is None:
        raise TeamNotFound
    return row


async def _flush(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_constraint(error) == "uq_teams_name":
            raise TeamNameTaken from error
        raise


def _out(row: TeamRow) -> TeamOut:
    return TeamOut(id=row.id, name=row.name, external_ref=row.external_ref, is_active=row.is_active)
