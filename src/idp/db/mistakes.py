"""Tells a mistake in the configuration from a server that is away: the one stays until somebody corrects it."""

import socket
import ssl
from collections.abc import Iterator

import asyncpg


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what is behind it, also where SQLAlchemy keeps that."""
    while error is not None:
        yield error
        original = getattr(error, "orig", None)
        if isinstance(original, BaseException):
            yield from causes(original)
        error = error.__cause__


def is_about_tls(reason: BaseException | None) -> bool:
    """Whether the two sides cannot agree on TLS."""
    refused_upgrade = isinstance(reason, ConnectionError) and "SSL" in str(reason)  # asyncpg's, when TLS is required
    return isinstance(reason, ssl.SSLError) or refused_upgrade


def mistake_of(error: BaseException | None) -> str | None:
    """Return which mistake is behind an error, in words without a name, an address or a secret; None for none."""
    for each in causes(error):
        found = _mistake(each)
        if found is not None:
            return found
    return None


def _mistake(error: BaseException) -> str | None:
    match error:
        case asyncpg.InvalidPasswordError():
            return "the database refuses the password"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "the database does not let this user in"
        case asyncpg.InvalidCatalogNameError():
            return "there is no such database"
        case asyncpg.InsufficientPrivilegeError():
            return "the user of the database lacks a privilege"
        case asyncpg.UndefinedTableError() | asyncpg.InvalidSchemaNameError() | asyncpg.UndefinedColumnError():
            return "the database is not migrated"
        case asyncpg.ProtocolViolationError():
            return "the database or a pooler refuses how we connect"
        case asyncpg.ClientConfigurationError():
            return "the address of the database cannot be used"
        case socket.gaierror() if error.errno == socket.EAI_NONAME:
            return "the name of the database's host is unknown"
    if isinstance(error, FileNotFoundError | PermissionError):
        return "a file that the address of the database names cannot be read"
    return "the database and we cannot agree on TLS" if is_about_tls(error) else None
