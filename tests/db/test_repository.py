"""Errors that the repository's settings prevent (docs/decisions/0034-where-repositories-end.md)."""

import secrets
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, update

import event_triggers
from factories import prepare
from idp.db.engine import Database
from idp.db.repository import unique
from idp.dev.embedded import EmbeddedPostgres
from idp.directory.models import TeamRow
from idp.directory.teams import TeamRepository
from idp.errors import TeamNameTaken
from idp.settings import load


@pytest.fixture(scope="module")
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    url = postgres.create_database("repository")
    loaded = load("production", environ={"DATABASE_URL": url})
    await prepare(loaded)
    await event_triggers.remove(url)
    database = Database(loaded.settings.database)
    yield database
    await database.close()


def new_team(name: str = "") -> TeamRow:
    return TeamRow(name=name or f"team-{secrets.token_hex(8)}", external_ref=None)


async def test_a_page_behind_the_last_one_still_has_a_total(database: Database) -> None:
    async with database.transaction() as session:
        repository = TeamRepository(session)
        row = await repository.add(new_team())
        assert (await repository.page(limit=1, offset=0, name=row.name))[1] == 1
        assert await repository.page(limit=1, offset=1, name=row.name) == ([], 1)
        assert await repository.page(limit=None, offset=0, name="no team has this name") == ([], 0)


async def test_pages_hold_every_row_once_in_one_order(database: Database) -> None:
    async with database.transaction() as session:
        repository = TeamRepository(session)
        kind = secrets.token_hex(4)
        names = sorted(f"{kind}-{place}" for place in range(5))
        for name in reversed(names):
            await repository.add(new_team(name))
        mine = TeamRow.name.startswith(kind)
        pages = [(await repository.page(mine, limit=2, offset=offset))[0] for offset in (0, 2, 4)]
        assert [row.name for page in pages for row in page] == names


async def test_a_lock_reads_what_was_committed_while_it_waited(database: Database) -> None:
    async with database.transaction() as session:
        row = await TeamRepository(session).add(new_team())
    async with database.transaction() as session:
        repository = TeamRepository(session)
        seen = await repository.find(row.id)
        assert seen is not None
        async with database.transaction() as other:
            await other.execute(update(TeamRow).where(TeamRow.id == row.id).values(external_ref="changed"))
        assert (await repository.find(row.id)) is seen
        assert seen.external_ref is None
        locked = await repository.find(row.id, lock=True)
        assert locked is seen
        assert seen.external_ref == "changed"


async def test_a_loaded_row_needs_no_statement_and_an_insert_one(database: Database) -> None:
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    async with database.transaction() as session:
        repository = TeamRepository(session)
        row = await repository.add(new_team())
        assert await repository.find(row.id) is row
    assert [statement.split()[0] for statement in statements] == ["INSERT"]


async def test_a_taken_name_is_recognized_by_its_constraint(database: Database) -> None:
    async def add(name: str) -> TeamRow:
        async with database.transaction() as session:
            with unique("uq_teams_name", TeamNameTaken):
                return await TeamRepository(session).add(new_team(name))

    row = await add(f"team-{secrets.token_hex(8)}")
    with pytest.raises(TeamNameTaken):
        await add(row.name)
