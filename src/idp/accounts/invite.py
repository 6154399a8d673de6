"""Invitations: an administrator creates an account, and its owner chooses the first password (S4-07).

The account has no password before that, not even a random one, so nothing can be guessed or mailed (SEC-11). The link
leads to the password reset, which also verifies the address (C-11).
"""

from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.sign_up import create_account
from idp.audit.record import Origin, record
from idp.errors import EmailTaken
from idp.mail.messages import Invitation
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.users import administration, credentials
from idp.users.one_time_tokens import Purpose
from idp.users.shapes import ManagedUser, UserChange


class Invite:
    """Invites users."""

    def __init__(self, services: AccountServices) -> None:
        self._services = services

    async def invite(self, email: str, requested: UserChange, origin: Origin, *, host: Principal) -> ManagedUser:
        """Create an account and mail the link; for a pending invitation, mail a new link.

        Args:
            email: as `parse_email` returned it.
            requested: roles, plan and name; missing values keep the current value or the default.
            origin: the request's origin.
            host: the inviting administrator, authorized again before the account is created.

        Raises:
            EmailTaken: the address belongs to an accepted account.
            AdminRequired: the host is no longer an administrator; also UserInactive and TokenRevoked.
        """
        services = self._services
        invited_by = host.user.name if host.user else None
        async with services.database.transaction() as session:
            try:
                user_id, again = await self._create(session, email, requested, origin), False
            except EmailTaken:
                user_id, email = await _lock_invited(session, email)
                again = True
            await reauthorize(session, host, manages=True)
            # Pending users do not count as administrators, so the last one cannot be lost here.
            user = await administration.change(session, origin, user_id, requested, keep_an_admin=False)
            token = await services.one_time_tokens.make(session, Purpose.INVITE, user_id=user_id, email=email)
            services.mailer.post(
                session, Invitation(user.name, token, invited_by, services.settings.invitation_days), to=email
            )
            record(session, origin, action="user.invited", user_id=user_id, details={"again": again})
        return user

    async def _create(self, session: AsyncSession, email: str, requested: UserChange, origin: Origin) -> str:
        name = None if requested.name is UNSET else requested.name
        return await create_account(
            session, self._services.settings, origin, email=email, name=name, password_hash=None
        )


async def _lock_invited(session: AsyncSession, email: str) -> tuple[str, str]:
    """Lock the user with a pending invitation, and return id and address.

    Raises:
        EmailTaken: the invitation was accepted, or the user is disabled.
    """
    holder = await credentials.hold_by_email(session, email)
    if (
        holder is None
        or holder.email is None
        or not await administration.has_pending_invitation(session, holder.user_id)
    ):
        raise EmailTaken
    if not holder.is_active:
        raise EmailTaken("This user is disabled: enable the user first, then invite again.")
    return holder.user_id, holder.email
