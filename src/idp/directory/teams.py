"""Teams: created, renamed, deactivated (S3-72)."""

from advanced_alchemy.filters import OrderBy
from sqlalchemy.ext.asyncio import AsyncSession

from idp.db.repository import Repository
from idp.directory.groups import Groups
from idp.directory.models import TeamRow
from idp.directory.shapes import NewTeam, TeamOut
from idp.errors import TeamNameTaken, TeamNotFound


class TeamRepository(Repository[TeamRow]):
    """Teams, by name."""

    model_type = TeamRow
    ordering = (OrderBy("name"), OrderBy("id"))


class Teams(Groups[TeamRow, TeamOut]):
    """Teams. Their names are unique."""

    noun = "team"
    repository = TeamRepository
    out = TeamOut
    not_found = TeamNotFound
    name_column = "name"
    taken = TeamNameTaken

    async def _make(self, _session: AsyncSession, new: NewTeam) -> TeamRow:
        return TeamRow(name=new.name, external_ref=new.external_ref)


TEAMS = Teams()
