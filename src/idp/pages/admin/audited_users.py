"""The addresses of users that audit records name by their ids."""

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import AuditRecord
from idp.users import administration

_USER = "user:"


async def addresses_in(session: AsyncSession, records: Iterable[AuditRecord]) -> dict[str, str]:
    """Return the addresses of users in these records, by id and by `user:<id>`, as actors and targets are written.

    A deleted user has no address any more, and stays an id.
    """
    named = {name for each in records for name in (each.actor, each.target or "") if name.startswith(_USER)}
    ids = {name.removeprefix(_USER) for name in named} | {each.user_id for each in records if each.user_id}
    found = await administration.addresses(session, ids)
    return found | {f"{_USER}{user_id}": email for user_id, email in found.items()}


async def id_of(session: AsyncSession, entered: str) -> str:
    """Return the id of the user with an address that was entered; what is no user's address stays as it is."""
    return (await administration.find_id(session, entered) or entered) if "@" in entered else entered


async def actor_of(session: AsyncSession, entered: str) -> str:
    """Return `user:<id>` for a user's address; what is no user's address stays as it is."""
    user_id = await id_of(session, entered)
    return entered if user_id == entered else f"{_USER}{user_id}"
