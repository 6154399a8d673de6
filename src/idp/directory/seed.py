"""The seed: creates the initial teams and domains; existing ones are never changed (S3-39 to S3-41)."""

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.directory.group_events import publish_group
from idp.directory.models import DomainRow, TeamRow
from idp.directory.shapes import Key, Name, Reference
from idp.settings import SettingsError

Row = TypeVar("Row", TeamRow, DomainRow)


class SeedTeam(Struct, frozen=True, forbid_unknown_fields=True):
    """A team of the seed."""

    name: Name
    external_ref: Reference | None = None


class SeedDomain(Struct, frozen=True, forbid_unknown_fields=True):
    """A domain of the seed."""

    key: Key
    name: Name


class SeedPersona(Struct, frozen=True, forbid_unknown_fields=True):
    """A demo user of `idp dev`; "name:admin" in `teams` makes them an admin of the team."""

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


# Shown instead of the regular expressions.
_FORMS = "a name is one line of visible text; a key is lower case letters, digits, dot, dash and underscore"


def read(path: Path) -> SeedFile:
    """Read a seed file.

    Raises:
        SettingsError: it is missing or invalid; the message says where.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), SeedFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = re.sub(
            r"matching regex .* - at `", f"with an invalid format ({_FORMS}) - at `", str(error), flags=re.DOTALL
        )
        raise SettingsError([f"The seed file {path} cannot be used: {message}."]) from None


async def apply(session: AsyncSession, seed: SeedFile) -> int:
    """Create missing teams and domains, and return how many were created."""
    now = clock.now()
    defaults = {"is_active": True, "created_at": now, "updated_at": now}
    teams: list[dict[str, Any]] = [
        {"id": uuid7(), "name": team.name, "external_ref": team.external_ref, **defaults} for team in seed.teams
    ]
    domains: list[dict[str, Any]] = [
        {"id": uuid7(), "key": domain.key, "name": domain.name, **defaults} for domain in seed.domains
    ]
    return await _create(session, TeamRow, teams) + await _create(session, DomainRow, domains)


async def _create(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> int:
    """Insert missing rows, publish them, and return their number."""
    if not rows:
        return 0
    statement = insert(table).values(rows).on_conflict_do_nothing().returning(table)
    created = (await session.scalars(statement)).all()
    for row in created:
        publish_group(session, row)
    return len(created)
