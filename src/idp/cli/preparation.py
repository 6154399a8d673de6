"""Database checks of `idp serve` at start: migrate an empty database, seed, detect misconfiguration."""

import logging
from typing import TYPE_CHECKING, Any

from idp.cli.database_contents import sealed_keys, seed_database

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Settings


def prepare_database(log: Any, settings: "Settings") -> None:
    """Migrate an empty database, or any with RUN_MIGRATIONS; refuse an outdated one or one of `idp dev`.

    An unreachable database only logs a warning; it may recover while the service runs.

    Raises:
        DatabaseNotReady: the database cannot be used.
    """
    from idp.cli.database import check_revision, migrate_now, with_database
    from idp.cli.database_errors import DatabaseAway
    from idp.db.migrate import is_empty

    logging.getLogger("alembic").setLevel(logging.WARNING)  # alembic logs its plugins at INFO
    try:
        if settings.database.run_migrations or with_database(settings, is_empty):
            for sentence in migrate_now(settings):
                log.info(sentence)
        else:
            is_current, sentence = check_revision(with_database(settings, _revision))
            if not is_current:
                log.warning(sentence)
        problem = with_database(settings, lambda database: _finish(database, settings))
    except DatabaseAway as error:
        if settings.database.run_migrations:
            raise
        log.warning("the database is unreachable; /readyz returns 503 until it answers", reason=str(error))
        return
    if problem is not None:
        log.error(problem)


async def _revision(database: "Database") -> str | None:
    from idp.db.migrate import current

    return await current(database)


async def _finish(database: "Database", settings: "Settings") -> str | None:
    """Refuse a database of `idp dev`, seed, and return a sentence about signing keys that cannot be decrypted."""
    await refuse_development(database)
    await seed_database(database, settings)
    return await sealed_keys(database, settings)


async def refuse_development(database: "Database") -> None:
    """Refuse a database that `idp dev` has used (decision 0027).

    Raises:
        DatabaseNotReady: with the remedy.
    """
    from idp.cli.database_errors import DatabaseNotReady
    from idp.db import installation

    if await installation.find(database, installation.DEVELOPMENT) is not None:
        raise DatabaseNotReady(installation.DEVELOPMENT_DATABASE_MESSAGE)
