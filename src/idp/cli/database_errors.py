"""Explain database errors with a remedy, never with a password."""

import os
import re
import socket

import asyncpg

from idp.cli.failure import Failure
from idp.db.address import parse
from idp.db.engine import is_unavailable
from idp.db.mistakes import causes, is_about_tls, mistake_of
from idp.errors import DatabaseUnavailable

_EXPLAINED = (asyncpg.PostgresError, asyncpg.ClientConfigurationError, OSError)
_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)


class DatabaseNotReady(Failure):
    """The database cannot be used as it is."""


class DatabaseAway(DatabaseNotReady):
    """The database is unreachable; retry later."""


def explained(error: BaseException, url: str, *, variable: str = "DATABASE_URL") -> DatabaseNotReady | None:
    """Return the failure to report, None if the error is not from the database.

    Args:
        error: the exception of a query.
        url: the URL that was used.
        variable: the environment variable of the URL, for the message.
    """
    found = list(causes(error))
    reason = next((cause for cause in found if isinstance(cause, _EXPLAINED)), None)
    if reason is None and not any(is_unavailable(cause) or isinstance(cause, DatabaseUnavailable) for cause in found):
        return None
    sentence = re.sub(r"\bDATABASE_URL\b", variable, _sentence(reason, url))
    away = mistake_of(error) is None and any(
        is_unavailable(each) or isinstance(each, DatabaseUnavailable) for each in found
    )
    return DatabaseAway(sentence) if away else DatabaseNotReady(sentence)


def _sentence(reason: BaseException | None, url: str) -> str:
    host, user, database = _parts(url)
    match reason:
        case socket.gaierror():
            return f"The host name {host} cannot be resolved: correct DATABASE_URL, or check DNS."
        case OSError() if is_about_tls(reason):
            return f"TLS with {host} failed ({_first_line(reason)}): check the sslmode in DATABASE_URL."
        case TimeoutError() | None:
            return f"{host} does not answer in time: is PostgreSQL running there, and is DATABASE_URL correct?"
        case OSError():
            # asyncio replaces the system's error text.
            why = os.strerror(reason.errno) if reason.errno else _first_line(reason)
            return f"Nothing answers at {host} ({why}): is PostgreSQL running there, and is DATABASE_URL correct?"
        case asyncpg.InvalidPasswordError():
            return f"PostgreSQL at {host} refuses the password of the user {user!r}: correct it in DATABASE_URL."
        case asyncpg.InvalidCatalogNameError():
            return f"PostgreSQL at {host} has no database {database!r}: create it, or correct DATABASE_URL."
        case asyncpg.ClientConfigurationError():
            return f"DATABASE_URL cannot be used for {host} ({_first_line(reason)}): correct its parameters."
        case asyncpg.InsufficientPrivilegeError():
            return (
                f"The user {user!r} may not do this in the database {database!r} ({_first_line(reason)}): grant it, "
                "or set DATABASE_MIGRATION_URL to an owner role for `idp migrate`."
            )
        case asyncpg.LockNotAvailableError():
            return f"Another transaction in {database!r}, such as a backup, holds a lock: try again when it has ended."
        case _ if isinstance(reason, _NOT_MIGRATED):
            return f"The database {database!r} at {host} is not migrated: run `idp migrate`."
    return f"PostgreSQL at {host} says: {_first_line(reason)}. Check DATABASE_URL."


def _parts(url: str) -> tuple[str, str, str]:
    address = parse(url)
    return address.hosts, address.user, address.database


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0].rstrip(".")
