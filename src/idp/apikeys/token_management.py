"""Changes of service tokens by administrators, as the API and the administration pages make them.

Each runs in the single writer, which authorizes the administrator again (C-27, decision 0029).
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys import service
from idp.apikeys.commands import CommandQueue, Work
from idp.apikeys.scopes import check_reserved
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import NewToken, TokenOut, TokenSecret
from idp.audit.record import Origin
from idp.principal.model import Principal
from idp.principal.reauthorize import if_still_authorized


def creation(key_factory: KeyFactory, origin: Origin, new: NewToken) -> Work[TokenSecret]:
    """Return the work that creates a service token.

    Raises:
        ValidationFailed: a reserved scope is unknown.
    """
    check_reserved(new.scopes)

    async def create(session: AsyncSession) -> TokenSecret:
        return await service.create_token(session, key_factory, origin, new)

    return create


async def create_token(
    command_queue: CommandQueue, key_factory: KeyFactory, by: Principal, origin: Origin, new: NewToken
) -> TokenSecret:
    """Create a service token. Errors as `service.create_token` and `reauthorize`."""
    work = creation(key_factory, origin, new)
    return await command_queue.submit("create_token", if_still_authorized(by, work, manages=True))


async def revoke_token(
    command_queue: CommandQueue, by: Principal, origin: Origin, row_id: UUID, reason: str | None
) -> TokenOut:
    """Revoke a service token. Errors as `service.revoke_token` and `reauthorize`."""

    async def work(session: AsyncSession) -> TokenOut:
        return await service.revoke_token(session, origin, row_id, reason)

    return await command_queue.submit("revoke_token", if_still_authorized(by, work, manages=True), urgent=True)


async def extend_token(command_queue: CommandQueue, by: Principal, origin: Origin, row_id: UUID, days: int) -> TokenOut:
    """Extend a service token. Errors as `service.extend_token` and `reauthorize`."""

    async def work(session: AsyncSession) -> TokenOut:
        return await service.extend_token(session, origin, row_id, days)

    return await command_queue.submit("extend_token", if_still_authorized(by, work, manages=True))
