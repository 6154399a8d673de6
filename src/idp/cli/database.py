"""`idp migrate` and `idp check-db`."""

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import rich_click as click

from idp.cli.failure import Failure
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

T = TypeVar("T")
_MAX_LISTED = 20  # addresses that `check-db` lists
_NO_LIMIT = 3600.0  # seconds; for migrations


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if migrations are pending.")
@with_output
def migrate(check: bool, output: str) -> None:
    """Run migrations, and create missing teams, domains and roles from the seed."""
    from idp.cli.production import load_for_database

    settings = load_for_database().settings
    if check:
        from idp.db.migrate import current

        _print_messages([check_revision(with_database(settings, current))[1]], output)
        return
    _print_messages(migrate_now(settings), output)


def _print_messages(messages: list[str], output: str) -> None:
    if output == "json":
        from idp.cli.tables import print_json

        print_json({"messages": messages})
        return
    for sentence in messages:
        print(sentence)


def migrate_now(settings: "Settings") -> list[str]:
    """Run migrations and seed.

    Returns:
        Sentences that describe the changes.

    Raises:
        DatabaseNotReady: the database cannot be migrated.
    """

    async def work(database: "Database") -> list[str]:
        from idp.cli.database_contents import seed_database
        from idp.db.migrate import current, upgrade
        from idp.directory import seed
        from idp.settings import seed_file

        seed.read(seed_file(settings))  # report errors in it before any change
        if is_newer(await current(database)):
            return ["The schema is newer than this version: nothing was changed."]
        changed = await upgrade(database)
        created = await seed_database(database, settings)
        remark = await _grant(database, settings)
        return [
            "The database was migrated." if changed else "The database is up to date.",
            *([f"Created {created} teams and domains from the seed."] if created else []),
            *([remark] if remark else []),
        ]

    return with_database(settings, work, as_owner=True)


async def _grant(database: "Database", settings: "Settings") -> str | None:
    """Grant the service's role its rights, if an owner role migrates; return a sentence if that fails."""
    from idp.db.grants import grant, role_of

    service = settings.database.url
    role = role_of(service.reveal()) if service and settings.database.migration_url else None
    return await grant(database, role) if role else None


@click.command("check-db")
@with_output
def check_db(output: str) -> None:
    """Check the connection, the schema version, and that the signing keys can be decrypted."""
    from idp.cli.production import load_for_database
    from idp.cli.tables import print_json

    settings = load_for_database().settings
    facts = with_database(settings, _read_facts)
    messages = _findings(settings, facts)
    if output == "table":
        for sentence in messages:
            print(sentence)
        return
    print_json({**facts._asdict(), "messages": list(messages)})


class _Facts(NamedTuple):
    """Facts about a database; `revision` is None if it was never migrated."""

    server_version: str
    database: str
    tls: bool
    revision: str | None


async def _read_facts(database: "Database") -> _Facts:
    from sqlalchemy import text

    from idp.db.migrate import current

    async with database.engine.connect() as connection:
        version = (await connection.execute(text("SHOW server_version"))).scalar_one()
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        tls = (await connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))).scalar()
    return _Facts(str(version).split()[0], str(name), bool(tls), await current(database))


def _findings(settings: "Settings", facts: _Facts) -> Iterator[str]:
    """Yield one sentence per finding.

    Raises:
        Failure: the service cannot work with this database.
    """
    from idp.settings import root_secret

    yield f"PostgreSQL {facts.server_version}, database {facts.database}, {'with' if facts.tls else 'without'} TLS."
    if int(facts.server_version.split(".")[0]) < 15:
        from idp.cli.database_errors import DatabaseNotReady

        raise DatabaseNotReady(f"PostgreSQL {facts.server_version} is too old: use 15 to 18.")
    yield check_revision(facts.revision)[1]
    if root_secret(settings) is not None:
        from idp.cli.database_contents import sealed_keys
        from idp.db import installation

        if with_database(settings, lambda database: installation.find(database, installation.DEVELOPMENT)):
            yield installation.DEVELOPMENT_DATABASE_MESSAGE
        if problem := with_database(settings, lambda database: sealed_keys(database, settings)):
            raise Failure(problem)
    yield from with_database(settings, _wrong_address_keys)


async def _wrong_address_keys(database: "Database") -> list[str]:
    """Return a sentence for each account whose address has a wrong key, and the remedy."""
    from idp.users.address_check import addresses_with_wrong_key

    async with database.transaction() as session:
        found = await addresses_with_wrong_key(session, limit=_MAX_LISTED)
    if not found:
        return []
    lines = [f"Warning: {each}" for each in found]
    return [*lines, "Change the address of each of these users: docs/operations.md#addresses-reported-by-check-db."]


def with_database(
    settings: "Settings", work: "Callable[[Database], Coroutine[Any, Any, T]]", *, as_owner: bool = False
) -> T:
    """Run work on a temporary connection pool.

    Args:
        as_owner: connect with DATABASE_MIGRATION_URL, if set.

    Raises:
        DatabaseUrlError: the URL is invalid.
        DatabaseAway: the database is unreachable.
        DatabaseNotReady: the database refuses, or was never migrated.
    """
    import msgspec

    from idp.db.engine import Database

    limits, variable = settings.database, "DATABASE_URL"
    if as_owner:
        variable, url = _migration_url(settings)
        limits = msgspec.structs.replace(limits, url=url, statement_timeout_seconds=_NO_LIMIT)
    if limits.url is None:
        raise Failure("DATABASE_URL is not set: set it to postgresql://user:password@host:5432/database.")
    database = Database(limits)
    return run(database, work(database), url=limits.url, variable=variable)


def _migration_url(settings: "Settings") -> "tuple[str, Secret | None]":
    """Return the URL for migrations, and the variable that it comes from."""
    database = settings.database
    if database.migration_url:
        return "DATABASE_MIGRATION_URL", database.migration_url
    return ("DATABASE_DIRECT_URL", database.direct_url) if database.direct_url else ("DATABASE_URL", database.url)


def run(database: "Database", work: Coroutine[Any, Any, T], *, url: "Secret", variable: str = "DATABASE_URL") -> T:
    """Run work on this pool, close it, and explain database errors; raises as `with_database`."""
    import asyncio

    from idp.cli.database_errors import explained

    _log_to_stderr()

    async def run_and_close() -> T:
        try:
            return await work
        finally:
            await database.close()

    try:
        return asyncio.run(run_and_close())
    except Exception as error:
        failure = explained(error, url.reveal(), variable=variable)
        if failure is None:
            raise
        raise failure from None


def _log_to_stderr() -> None:
    """Send the service's log to stderr and hide warnings; the failure has the message."""
    import logging
    import sys

    import structlog

    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def is_newer(revision: str | None) -> bool:
    """Whether a later version of idp migrated this database (revisions are numbered: 0001, 0002)."""
    from idp.db.migrate import head

    return revision is not None and revision > head()


def check_revision(revision: str | None) -> tuple[bool, str]:
    """Return whether the schema has exactly this version, and a sentence about it.

    Raises:
        DatabaseNotReady: migrations are pending.
    """
    from idp.cli.database_errors import DatabaseNotReady
    from idp.db.migrate import head

    if revision is None:
        raise DatabaseNotReady("The database was never migrated: run `idp migrate`.")
    if is_newer(revision):
        return False, f"The database is at revision {revision}, newer than this version of idp ({head()})."
    if revision != head():
        raise DatabaseNotReady(
            f"The database is at revision {revision}, this version requires {head()}: run `idp migrate`."
        )
    return True, f"The database is at revision {revision}, as required."
