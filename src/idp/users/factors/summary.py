"""The second factors of a user, as administrators see them."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.users.factors.models import PasskeyRow, RecoveryCodeRow, TotpRow


class Factor(Struct, frozen=True):
    """A passkey, or an authenticator app, which has no name."""

    name: str | None
    created_at: datetime
    last_used_at: datetime | None


class Factors(Struct, frozen=True):
    """All second factors of a user.

    Attributes:
        recovery_codes: number of unused ones.
    """

    passkeys: list[Factor]
    totp: Factor | None
    recovery_codes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to reset."""
        return not self.passkeys and self.totp is None and self.recovery_codes == 0


async def factors_of(session: AsyncSession, user_id: str) -> Factors:
    """Return a user's second factors, without secrets."""
    passkeys = select(PasskeyRow.name, PasskeyRow.created_at, PasskeyRow.last_used_at)
    rows = await session.execute(passkeys.where(PasskeyRow.user_id == user_id).order_by(PasskeyRow.created_at))
    totp = select(TotpRow.created_at, TotpRow.last_used_at).where(TotpRow.user_id == user_id)
    app = (await session.execute(totp)).one_or_none()
    codes = select(func.count()).select_from(RecoveryCodeRow)
    unused = codes.where(RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.used_at.is_(None))
    return Factors(
        passkeys=[Factor(*row) for row in rows],
        totp=Factor(None, *app) if app is not None else None,
        recovery_codes=await session.scalar(unused) or 0,
    )
