"""The seed: teams and domains every deployment starts with; what exists is never changed (S3-39 to S3-41)."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.directory.models import DomainRow, TeamRow
from idp.directory.shapes import Key, Name, Reference
from idp.settings import SettingsError


class SeedTeam(Struct, frozen=True, forbid_unknown_fields=True):
    """A team of the seed."""

    name: Name
    external_ref: Reference | None = None


class SeedDomain(Struct, frozen=True, forbid_unknown_fields=True):
    """A domain of the seed."""

    key: Key
    name: Name


class SeedPersona(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody `idp dev` starts with; "name:admin" in `teams` is a team admin."""

    email: str
    name: Name
    roles: tuple[str, ...] = ("user",)
    teams: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class SeedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """config/seed.toml."""

    teams: tuple[SeedTeam, ...] = ()
    domains: tuple[SeedDomain, ...] = ()
    personas: tuple[SeedPersona, ...] = ()


# Instead of their patterns, which say nothing to people.
_FORMS = "a name is one line of visible text, a key lower case letters, digits, dot, dash and underscore"


def read(path: Path) -> SeedFile:
    """Read a seed file.

    Raises:
        SettingsError: it is missing or does not fit, with the place.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), SeedFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        said = re.sub(r"matching regex .* - at `", f"of another form ({_FORMS}) - at `", str(error), flags=re.DOTALL)
        raise SettingsError([f"The seed file {path} cannot be used: {said}."]) from None


async def apply(session: AsyncSession, seed: SeedFile) -> int:
    """Make what is missing, and return how much that was."""
    now = clock.now()
    common = {"is_active": True, "created_at": now, "updated_at": now}
    teams: list[dict[str, Any]] = [
        {"id": uuid7(), "name": team.name, "external_ref": team.external_ref, **common} for team in seed.teams
    ]
    domains: list[dict[str, Any]] = [
        {"id": uuid7(), "key": domain.key, "name": domain.name, **common} for domain in seed.domains
    ]
    made = 0
    for table, rows in ((TeamRow, teams), (DomainRow, domains)):
        if rows:
            statement = insert(table).values(rows).on_conflict_do_nothing().returning(table.id)
            made += len((await session.scalars(statement)).all())
    return made
