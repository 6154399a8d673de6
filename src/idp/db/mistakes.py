"""Distinguish configuration errors of the database from temporary unavailability."""

import socket
import ssl
from collections.abc import Iterator

import asyncpg


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, including those wrapped by SQLAlchemy."""
    while error is not None:
        yield error
        original = getattr(error, "orig", None)
        if isinstance(original, BaseException):
            yield from causes(original)
        error = error.__cause__


def is_about_tls(reason: BaseException | None) -> bool:
    """Whether TLS negotiation failed."""
    refused_upgrade = isinstance(reason, ConnectionError) and "SSL" in str(reason)  # asyncpg's, when TLS is required
    return isinstance(reason, ssl.SSLError) or refused_upgrade


def mistake_of(error: BaseException | None) -> str | None:
    """Describe the configuration error behind an error, without names, addresses or secrets; None if there is none."""
    for each in causes(error):
        mistake = _mistake(each)
        if mistake is not None:
            return mistake
    return None


def _mistake(error: BaseException) -> str | None:
    match error:
        case asyncpg.InvalidPasswordError():
            return "the database refuses the password"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "the database rejects this user"
        case asyncpg.InvalidCatalogNameError():
            return "the database does not exist"
        case asyncpg.InsufficientPrivilegeError():
            return "the database user lacks a privilege"
        case asyncpg.UndefinedTableError() | asyncpg.InvalidSchemaNameError() | asyncpg.UndefinedColumnError():
            return "the database is not migrated"
        case asyncpg.ProtocolViolationError():
            return "the database or a pooler refuses the connection parameters"
        case asyncpg.ClientConfigurationError():
            return "the database URL cannot be used"
        case socket.gaierror() if error.errno == socket.EAI_NONAME:
            return "the database's host name cannot be resolved"
    if isinstance(error, FileNotFoundError | PermissionError):
        return "a file in the database URL cannot be read"
    return "TLS negotiation with the database failed" if is_about_tls(error) else None
