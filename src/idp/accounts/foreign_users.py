"""The user of a foreign identity: found, linked to an existing account (C-11), or created on first use (S3-37)."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.sign_up import create_account
from idp.apikeys.service import lock
from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import EmailTaken
from idp.events.catalogue import EventType
from idp.lifecycle.claim import claim
from idp.settings_schema import Accounts
from idp.users import credentials, identities
from idp.users.identities import ForeignIdentity
from idp.users.user_events import publish_changed

_ATTEMPTS = 3


class _TakenMeanwhile(Exception):
    """A concurrent request has created the same identity or address: read again."""


class ForeignUsers:
    """Finds and creates the users of foreign identities.

    Args:
        database: stores users and identities.
        settings: the default teams and domains of new users.
    """

    def __init__(self, database: Database, settings: Accounts) -> None:
        self._database = database
        self._settings = settings

    async def ensure(self, identity: ForeignIdentity) -> None:
        """Make sure that the identity has a user, who may be disabled.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        for _ in range(_ATTEMPTS):
            if await identities.is_linked(self._database.reads, identity):
                return
            try:
                await self._database.transact(lambda session: self._link_or_create(session, identity))
            except _TakenMeanwhile:
                continue
            return
        raise RuntimeError("an identity appears and disappears concurrently")

    async def _link_or_create(self, session: AsyncSession, identity: ForeignIdentity) -> None:
        origin = Origin(actor="anonymous")
        user_id = await self._linkable(session, origin, identity)
        is_new = user_id is None
        if user_id is None:
            user_id = await self._create(session, origin, identity)
        if not await identities.link(session, user_id, identity):
            raise _TakenMeanwhile
        details = {"provider": identity.provider, "subject": identity.subject, "new_user": is_new}
        record(session, origin, action="user.identity_linked", user_id=user_id, details=details)

    async def _linkable(self, session: AsyncSession, origin: Origin, identity: ForeignIdentity) -> str | None:
        """Return the account with this address; only if its issuer is trusted to have verified it (SEC-16, C-11).

        An account with another subject of the same issuer is not linked: providers give addresses of people who left to
        newcomers, and tell them apart by the subject (SEC-15).
        """
        if identity.email is None or not identity.email_verified:
            return None
        await lock(session)  # before the user's row (C-27)
        holder = await credentials.hold_by_email(session, identity.email)
        if holder is None:
            return None
        if not holder.email_verified:
            await claim(session, origin, holder.user_id, keep_password=False)
        elif await identities.has_one_at(session, holder.user_id, identity.provider):
            return None
        return holder.user_id

    async def _create(self, session: AsyncSession, origin: Origin, identity: ForeignIdentity) -> str:
        """Create a user; without an address if another account has it: the same address is another principal."""
        email = identity.email
        if email is not None and await credentials.find_by_email(session, email) is not None:
            email = None
        try:
            user_id = await create_account(
                session,
                self._settings,
                origin,
                email=email,
                name=identity.name or (email or "").partition("@")[0] or None,
                password_hash=None,
                login_type="oidc",
            )
        except EmailTaken:
            raise _TakenMeanwhile from None
        if email is not None and identity.email_verified:
            await credentials.mark_verified(session, user_id)
            verified = EventType.USER_EMAIL_VERIFIED
            await publish_changed(session, origin, user_id, "email_verified", also=verified)
        return user_id
