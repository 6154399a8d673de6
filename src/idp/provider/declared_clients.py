"""Clients that `config/clients.toml` declares: read, applied at the start, and compared with the database.

A declared client is created or changed to what the file says; nothing is ever deleted. Secrets are not in the file: it
names an environment variable or a file.
"""

import asyncio
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import SYSTEM
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable, ValidationFailed
from idp.ops.logging import describe
from idp.provider.client_auth import SECRET_METHODS
from idp.provider.client_checks import FetchProblem, columns_of
from idp.provider.client_ids import id_problem
from idp.provider.client_shapes import ClientMetadata, ClientOut
from idp.provider.clients import Clients
from idp.provider.models import ClientRow
from idp.settings import Secret, SettingsError, secret_from

log = structlog.get_logger("idp.provider")

NAME = "clients.toml"
_SECRET_MEMBERS = ("client_secret_env", "client_secret_file")
_MEMBERS = (*ClientMetadata.__struct_fields__, *_SECRET_MEMBERS)
_SHORTEST_SECRET = 32  # characters
_RETRY_SECONDS = 1.0
_LOCK = 0x1D9_C11E


class DeclaredClient(Struct, frozen=True):
    """A declared client; `secret` is None without one, or if secrets were not read."""

    client_id: str
    metadata: ClientMetadata
    secret: Secret | None = None


class Difference(Struct, frozen=True):
    """A difference between the file and the service.

    Attributes:
        client_id: the client.
        member: that differs; None if the client is missing on one side.
        declared: what the file says, None if it has not this client or member.
        actual: what the service has, None if it has not.
    """

    client_id: str
    member: str | None
    declared: Any
    actual: Any


def read(path: Path, *, fetch_problem: FetchProblem, with_secrets: bool = True) -> tuple[DeclaredClient, ...]:
    """Return the clients that a file declares; none if there is no such file.

    Args:
        path: the file.
        fetch_problem: tells why this service must not call a URL.
        with_secrets: whether to read the secrets that it names.

    Raises:
        SettingsError: names each mistake, with its place.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"{path} cannot be read: {error}."]) from None
    problems, found = (
        [f"{path}: [{name}] is unknown; write [clients.<client_id>]." for name in tables.keys() - {"clients"}],
        [],
    )
    for client_id, table in tables.get("clients", {}).items():
        try:
            found.append(_client(client_id, table, fetch_problem, with_secrets=with_secrets))
        except (ValueError, ValidationFailed, SettingsError) as error:
            problems += [f"{path}, clients.{client_id}: {each}" for each in _sentences(error)]
    if problems:
        raise SettingsError(problems)
    return tuple(found)


def _client(client_id: str, table: Any, fetch_problem: FetchProblem, *, with_secrets: bool) -> DeclaredClient:
    if not isinstance(table, dict):
        raise ValueError("it is not a table.")  # noqa: TRY004  like all mistakes in the file
    if problem := id_problem(client_id):
        raise ValueError(problem)
    for name in table.keys() - set(_MEMBERS):
        close = difflib.get_close_matches(name, _MEMBERS, n=1)
        raise ValueError(f"{name} is unknown" + (f": did you mean {close[0]}?" if close else "."))
    members = {name: value for name, value in table.items() if name not in _SECRET_MEMBERS}
    metadata = msgspec.convert({"client_name": client_id, **members}, ClientMetadata)
    columns_of(metadata, fetch_problem=fetch_problem)
    has_secret = metadata.token_endpoint_auth_method in SECRET_METHODS
    sources = [name for name in _SECRET_MEMBERS if name in table]
    if has_secret != (len(sources) == 1):
        raise ValueError(
            "name its secret by client_secret_env or client_secret_file."
            if has_secret
            else "a client without a secret has neither client_secret_env nor client_secret_file."
        )
    secret = _secret(table) if has_secret and with_secrets else None
    return DeclaredClient(client_id, metadata, secret)


def _secret(table: Mapping[str, Any]) -> Secret:
    secret = secret_from(variable=table.get("client_secret_env"), file=table.get("client_secret_file"))
    if len(secret.reveal()) < _SHORTEST_SECRET:
        raise ValueError(f"its secret has fewer than {_SHORTEST_SECRET} characters.")
    return secret


def _sentences(error: Exception) -> Sequence[str]:
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, ValidationFailed):
        return [f"{'.'.join(map(str, each.loc[1:]))}: {each.msg}" for each in error.extra["errors"]]
    return [str(error)]


def differences(declared: Sequence[DeclaredClient], actual: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return how clients of the service differ from the declared ones; secrets are not compared.

    Args:
        declared: the clients of the file.
        actual: the service's clients, as it lists them.
    """
    known = {client["client_id"]: client for client in actual}
    found = []
    for client in declared:
        expected = _expected(client)
        present = known.pop(client.client_id, None)
        if present is None:
            found.append(Difference(client.client_id, None, client.metadata.client_name, None))
            continue
        found += [
            Difference(client.client_id, name, expected.get(name), present.get(name))
            for name in sorted(expected.keys() | (present.keys() - {"client_secret"}))
            if expected.get(name) != present.get(name) and name != "client_id_issued_at"
        ]
    gone = [client for client in known.values() if client["declared"]]
    return found + [Difference(client["client_id"], None, None, client["client_name"]) for client in gone]


def _expected(client: DeclaredClient) -> dict[str, Any]:
    """Return a declared client as the service should list it."""
    columns = columns_of(client.metadata, fetch_problem=lambda _url: None)
    row = ClientRow(client_id=client.client_id, declared=True, created_at=clock.now(), **columns)
    expected: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ClientOut.of(row)))
    return expected


class DeclaredClients(BackgroundService):
    """Applies the declared clients once, as soon as the database can be used.

    Args:
        database: stores clients.
        clients: creates and changes them.
        declared: the clients of the file.
    """

    def __init__(self, database: Database, clients: Clients, declared: Sequence[DeclaredClient]) -> None:
        super().__init__("declared clients", self._apply_with_retries)
        self._database = database
        self._clients = clients
        self._declared = declared

    async def apply(self) -> None:
        """Create and change clients, in one transaction.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if not self._declared:
            return
        async with self._database.transaction() as session:
            await lock_clients(session)
            for client in self._declared:
                await self._clients.declare(
                    session, SYSTEM, client.client_id, client.metadata, client.secret, declared=True
                )

    async def _apply_with_retries(self) -> None:
        while True:
            try:
                await self.apply()
            except DatabaseUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001  not migrated yet, say
                log.error("declared clients cannot be applied", **describe(error))  # noqa: TRY400
                await asyncio.sleep(10 * _RETRY_SECONDS)
            else:
                return


async def lock_clients(session: AsyncSession) -> None:
    """Let only one process at a time apply clients that it may have to create."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
