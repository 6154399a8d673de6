"""Changes of clients by administrators, as the API and the administration pages make them.

Every function runs one transaction, which authorizes the administrator again after its locks (decision 0029).
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from advanced_alchemy.filters import LimitOffset
from sqlalchemy import tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.db.engine import Database
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.provider.client_shapes import ClientMetadata, ClientOut
from idp.provider.clients import ClientRepository, Clients
from idp.provider.models import ClientRow

T = TypeVar("T")


async def create(
    database: Database, clients: Clients, principal: Principal, origin: Origin, new: ClientMetadata
) -> ClientOut:
    """Create a client. Errors as `Clients.create` and `reauthorize`."""
    async with database.transaction() as session:
        await reauthorize(session, principal, manages=True)
        return await clients.create(session, origin, new)


async def change(
    database: Database, principal: Principal, client_id: str, work: Callable[[AsyncSession, ClientRow], Awaitable[T]]
) -> T:
    """Run a change of a locked client for an administrator.

    Args:
        database: the database.
        principal: the administrator.
        client_id: the client.
        work: the change, such as `Clients.rotate`.

    Raises:
        ClientNotFound: there is no such client.
        AdminRequired: the caller is no longer an administrator; see also `reauthorize`.
    """
    async with database.transaction() as session:
        row = await ClientRepository(session).get_client(client_id, lock=True)
        await reauthorize(session, principal, manages=True)
        return await work(session, row)


async def list_after(session: AsyncSession, *, after: str | None, limit: int) -> tuple[list[ClientOut], str | None]:
    """Return clients, newest first, without counting.

    Args:
        session: the caller's transaction.
        after: the id of the last client of the page before; None for the first page.
        limit: size of a page.

    Returns:
        The page, and the id after which the next one begins; None if this is the last.
    """
    repository = ClientRepository(session)
    last = await repository.find(after) if after is not None else None
    place = (
        [tuple_(ClientRow.created_at, ClientRow.client_id) < tuple_(last.created_at, last.client_id)] if last else []
    )
    rows = await repository.get_many(*place, *repository.ordering, LimitOffset(limit + 1, 0))
    return [ClientOut.of(row) for row in rows[:limit]], rows[limit - 1].client_id if len(rows) > limit else None
