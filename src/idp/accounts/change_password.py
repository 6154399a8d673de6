"""Change of password by a signed-in user who knows the current one (SEC-6)."""

from uuid import UUID

from idp.accounts.account_services import AccountServices
from idp.accounts.password_proof import PasswordProof
from idp.accounts.reset_password import password_changed
from idp.audit.record import Origin, record
from idp.errors import InvalidCredentials
from idp.lifecycle import credentials_changed
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.users import credentials


class ChangePassword:
    """Changes passwords."""

    def __init__(self, services: AccountServices, proof: PasswordProof) -> None:
        self._services = services
        self._proof = proof

    async def change(
        self, caller: Principal, current_password: str, new_password: str, origin: Origin, *, keep: UUID | None
    ) -> None:
        """Set a new password; all other sessions and mailed links of the user are revoked.

        Args:
            caller: the signed-in user, authorized again when the password is set.
            current_password: proves the user's identity.
            new_password: the new password.
            origin: the request's origin.
            keep: the request's session, which continues.

        Raises:
            TokenRevoked: the session ended meanwhile; also UserInactive.
            InvalidCredentials: the password is wrong, or was changed concurrently.
            PasswordRejected: with the reason.
            RateLimited: too many wrong passwords.
            Busy: the password queue is full.
        """
        services, user_id = self._services, caller.user_id
        proven = await self._proof.check(user_id, current_password, origin, session_id=keep)
        services.passwords.check_policy(new_password, email=proven.email, name=proven.name, member="new_password")
        password_hash = await services.passwords.hash(new_password, asker=origin.ip_address)
        mail = await password_changed(origin)
        async with services.database.transaction() as session:
            holder = await credentials.hold(session, user_id)
            if holder is None or not holder.is_active or holder.password_version != proven.password_version:
                raise InvalidCredentials
            await reauthorize(session, caller)
            ended = await credentials_changed.change_password(session, origin, user_id, password_hash, keep=keep)
            record(session, origin, action="user.password_changed", user_id=user_id, details={"ended_sessions": ended})
            if holder.email is not None:
                services.mailer.post(session, mail(holder.name), to=holder.email)
