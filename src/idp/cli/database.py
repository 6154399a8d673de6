"""`idp migrate` and `idp check-db`."""

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import rich_click as click

from idp.settings import Settings

T = TypeVar("T")


class DatabaseNotReady(Exception):
    """The database does not answer, or is not what it should be."""


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something would be done.")
def migrate(check: bool) -> None:
    """Bring the database to this version, and make the teams, domains and roles of the seed that are missing."""
    from idp.settings import load

    settings = load("production").settings
    if check:
        sys.exit(0 if run_with_database(_is_current(settings)) else 1)
    migrate_now(settings)


def migrate_now(settings: Settings) -> None:
    """Migrate and seed, and say what was done."""
    changed, planted = run_with_database(_migrate(settings))
    print("The database was migrated." if changed else "The database is up to date.")
    if planted:
        print(f"{planted} teams and domains of the seed were made.")


async def _migrate(settings: Settings) -> tuple[bool, int]:
    from idp.db.engine import Database
    from idp.db.migrate import upgrade
    from idp.directory import seed
    from idp.settings import seed_file
    from idp.users import service as users

    # DATABASE_MIGRATION_URL is an owner's, where the service's own role may not change tables.
    direct = settings.database.migration_url or settings.database.direct_url
    database = Database(settings.database, url=direct)
    try:
        planted = seed.read(seed_file(settings))
        changed = await upgrade(database)
        async with database.transaction() as session:
            await users.ensure_roles(session)
            made = await seed.plant(session, planted)
    finally:
        await database.close()
    return changed, made


async def _is_current(settings: Settings) -> bool:
    from idp.db.engine import Database
    from idp.db.migrate import current, head

    database = Database(settings.database)
    try:
        now = await current(database)
    finally:
        await database.close()
    print(f"at {now or 'nothing'}, this version needs {head()}")
    return now == head()


@click.command("check-db")
def check_db() -> None:
    """Connect to the database and say how it is."""
    from idp.settings import load

    run_with_database(_check(load("production").settings))


async def _check(settings: Settings) -> None:
    from sqlalchemy import text

    from idp.db.engine import Database
    from idp.db.migrate import current, head

    database = Database(settings.database)
    try:
        async with database.engine.connect() as connection:
            version = (await connection.execute(text("SHOW server_version"))).scalar_one()
            name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
            tls = (await connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))).scalar()
        revision = await current(database)
    finally:
        await database.close()
    print(f"PostgreSQL {version.split()[0]}, database {name}, {'with' if tls else 'without'} TLS")
    if int(version.split(".")[0]) < 15:
        raise DatabaseNotReady(f"PostgreSQL {version} is too old: use 15 to 18.")
    if revision != head():
        raise DatabaseNotReady(
            f"The database is at revision {revision or 'nothing'}, this version needs {head()}: run `idp migrate`."
        )
    print(f"at revision {revision}, as this version needs")


def run_with_database(work: Coroutine[Any, Any, T]) -> T:
    """Run work that needs the database.

    Raises:
        DatabaseNotReady: it does not answer, with the reason.
    """
    import asyncio

    from idp.db.engine import is_away
    from idp.errors import DatabaseUnavailable

    try:
        return asyncio.run(work)
    except DatabaseUnavailable as error:
        raise DatabaseNotReady(_cannot_connect(error.__cause__ or error)) from None
    except Exception as error:
        if is_away(error) or _is_refusal(error):
            raise DatabaseNotReady(_cannot_connect(error)) from None
        raise


def _is_refusal(error: BaseException) -> bool:
    import asyncpg

    refusals = (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    )
    return isinstance(error, refusals) or isinstance(getattr(error, "__cause__", None), refusals)


def _cannot_connect(error: BaseException) -> str:
    reason = str(error).split("\n")[0] or type(error).__name__
    return f"The database at DATABASE_URL cannot be used: {reason}. Check host, port, name and password."
