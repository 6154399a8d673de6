"""Find stored addresses whose key differs from `email_key`, for `idp check-db`."""

from msgspec import Struct
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.users.email import email_key
from idp.users.models import UserRow

_PAGE_SIZE = 1000


class AddressWithWrongKey(Struct, frozen=True):
    """A live user who is not found by their own address.

    Attributes:
        holder: the user who is found instead; None if there is none.
    """

    user_id: str
    email: str
    holder: str | None

    def __str__(self) -> str:
        if self.holder is None:
            return f"User {self.user_id} is not found by the address {ascii(self.email)[1:-1]}."
        return (
            f"The address {ascii(self.email)[1:-1]} of user {self.user_id} finds user {self.holder}: two accounts, one "
            "mailbox."
        )


async def addresses_with_wrong_key(session: AsyncSession, *, limit: int) -> list[AddressWithWrongKey]:
    """Return at most `limit` live users whose stored key does not match their address.

    Only non-trivial addresses are checked in Python: the key of an ASCII address is its lower case.
    """
    unlike = or_(
        UserRow.email_key.is_(None),
        UserRow.email_key != func.lower(UserRow.email),
        UserRow.email.regexp_match(r"[^\x01-\x7f]"),
    )
    query = select(UserRow.id, UserRow.email, UserRow.email_key).where(
        UserRow.deleted_at.is_(None), UserRow.email.is_not(None), unlike
    )
    misplaced: list[AddressWithWrongKey] = []
    last = ""
    while len(misplaced) < limit:
        rows = (await session.execute(query.where(UserRow.id > last).order_by(UserRow.id).limit(_PAGE_SIZE))).all()
        for user_id, email, stored in rows:
            if email is not None and (key := email_key(email)) != stored:
                misplaced.append(AddressWithWrongKey(user_id, email, await _holder(session, key)))
        if len(rows) < _PAGE_SIZE:
            break
        last = rows[-1].id
    return misplaced[:limit]


async def _holder(session: AsyncSession, key: str) -> str | None:
    return await session.scalar(select(UserRow.id).where(UserRow.email_key == key, UserRow.deleted_at.is_(None)))
