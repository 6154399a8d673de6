"""Why the database cannot be used, in a sentence that says what to change; never with a password."""

import os
import re
import socket
import ssl
from collections.abc import Iterator

import asyncpg
from sqlalchemy.engine import make_url

from idp.cli.failure import Failure
from idp.db.engine import is_away, normalise_url
from idp.errors import DatabaseUnavailable

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)


class DatabaseNotReady(Failure):
    """The database is not what it should be."""


class DatabaseAway(DatabaseNotReady):
    """The database does not answer; it may later."""


def explained(error: BaseException, url: str, *, variable: str = "DATABASE_URL") -> DatabaseNotReady | None:
    """Return the failure to tell the person about, None for what is not the database's.

    Args:
        error: what a query raised.
        url: the address that was used.
        variable: where that stands, to be named.
    """
    causes = list(_causes(error))
    reason = next((cause for cause in causes if isinstance(cause, asyncpg.PostgresError | OSError)), None)
    if reason is None and not any(is_away(cause) or isinstance(cause, DatabaseUnavailable) for cause in causes):
        return None
    sentence = re.sub(r"\bDATABASE_URL\b", variable, _sentence(reason, url))
    away = any(is_away(cause) for cause in causes) and not _is_about_tls(reason)
    return DatabaseAway(sentence) if away else DatabaseNotReady(sentence)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        original = getattr(error, "orig", None)
        if isinstance(original, BaseException):
            yield from _causes(original)
        error = error.__cause__


def _sentence(reason: BaseException | None, url: str) -> str:
    host, user, database = _parts(url)
    match reason:
        case socket.gaierror():
            return f"The name of {host} cannot be found: correct DATABASE_URL, or the network's name service."
        case OSError() if _is_about_tls(reason):
            return f"{host} and we cannot agree on TLS ({_first_line(reason)}): check the sslmode in DATABASE_URL."
        case TimeoutError() | None:
            return f"{host} does not answer in time: is PostgreSQL running there, and is DATABASE_URL right?"
        case OSError():
            # asyncio puts a text of its own where the system's would be.
            why = os.strerror(reason.errno) if reason.errno else _first_line(reason)
            return f"Nothing answers at {host} ({why}): is PostgreSQL running there, and is DATABASE_URL right?"
        case asyncpg.InvalidPasswordError():
            return f"PostgreSQL at {host} refuses the password of the user {user!r}: correct it in DATABASE_URL."
        case asyncpg.InvalidCatalogNameError():
            return f"PostgreSQL at {host} has no database {database!r}: create it, or correct DATABASE_URL."
        case asyncpg.InsufficientPrivilegeError():
            return (
                f"The user {user!r} may not do this in the database {database!r} ({_first_line(reason)}): grant it, "
                "or give an owner's address in DATABASE_MIGRATION_URL to `idp migrate`."
            )
        case _ if isinstance(reason, _NOT_MIGRATED):
            return f"The database {database!r} at {host} is not migrated: run `idp migrate`."
    return f"PostgreSQL at {host} says: {_first_line(reason)}. Check DATABASE_URL."


def _is_about_tls(reason: BaseException | None) -> bool:
    refused_upgrade = isinstance(reason, ConnectionError) and "SSL" in str(reason)  # asyncpg's, when TLS is required
    return isinstance(reason, ssl.SSLError) or refused_upgrade


def _parts(url: str) -> tuple[str, str, str]:
    parts = make_url(normalise_url(url))
    host = parts.host or str(parts.query.get("host", "localhost"))
    return f"{host}:{parts.port or 5432}", parts.username or "", parts.database or parts.username or ""


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0].rstrip(".")
