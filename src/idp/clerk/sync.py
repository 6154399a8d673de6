"""Applies what Clerk says about a user, in whatever order it arrives (S0-11 to S0-13, C-11, C-13, C-14).

Every state of a user carries Clerk's time of it, and only a newer one applies. A deletion is final: it leaves a
tombstone, because Clerk never uses an id again. All changes take the lock of the keys first (C-27), so they run one
after another.
"""

from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.sign_up import create_account
from idp.apikeys.service import lock
from idp.audit.record import BY_CLERK, Origin, record
from idp.clerk.models import ClerkUserRow
from idp.clerk.payloads import ClerkProfile
from idp.clerk.suspension import follow_suspension
from idp.db.engine import Database
from idp.errors import EmailTaken, UserInactive
from idp.lifecycle import offboard
from idp.lifecycle.claim import claim
from idp.lifecycle.synced_email import Yields, set_synced_email
from idp.principal import sources
from idp.settings_schema import Accounts
from idp.users import administration, credentials, identities
from idp.users import service as users
from idp.users.credentials import Holder
from idp.users.identities import CLERK, ForeignIdentity
from idp.users.profile import copy_profile


class Outcome(StrEnum):
    """What became of a message."""

    APPLIED = "applied"
    STALE = "stale"  # older than what is known
    DELETED = "deleted"  # about a user who was deleted


class ClerkUsers:
    """The users that Clerk manages. Methods with a session work inside the caller's transaction.

    Args:
        database: stores them.
        settings: the default teams and domains of new users.
        roles: those that Clerk's `public_metadata.role` may grant.
    """

    def __init__(self, database: Database, settings: Accounts, roles: tuple[str, ...]) -> None:
        self.database = database
        self._settings = settings
        self._roles = frozenset(roles)

    async def apply(
        self, session: AsyncSession, profile: ClerkProfile, *, origin: Origin = BY_CLERK, even_same: bool = False
    ) -> Outcome:
        """Create or update a user.

        Args:
            session: a transaction whose first statement was `apikeys.service.lock` (C-27).
            profile: what Clerk says.
            origin: of the message.
            even_same: apply a state of the same time again, to repair what differs.
        """
        row = await _known(session, profile.id)
        if row.deleted_at_ms is not None:
            return Outcome.DELETED
        if profile.updated_at < row.updated_at_ms or (profile.updated_at == row.updated_at_ms and not even_same):
            return Outcome.STALE
        row.updated_at_ms = profile.updated_at
        user = await self._user(session, origin, row, profile)
        if user is None:
            return Outcome.DELETED
        await self._copy(session, origin, row, user, profile)
        return Outcome.APPLIED

    async def delete(
        self, session: AsyncSession, clerk_id: str, *, deleted_at: int, origin: Origin = BY_CLERK
    ) -> Outcome:
        """Delete a user with everything they could act with, and leave a tombstone, also for an unknown one (S0-13).

        Args:
            session: as for `apply`.
            clerk_id: the user at Clerk.
            deleted_at: milliseconds since 1970.
            origin: of the message.
        """
        row = await _known(session, clerk_id)
        if row.deleted_at_ms is not None:
            return Outcome.STALE
        row.deleted_at_ms = deleted_at
        user_id = await identities.find_user(session, CLERK, clerk_id)
        if user_id is None and row.user_id is None:
            user_id = clerk_id  # imported without an identity
        if user_id is not None and await users.exists(session, user_id):
            await offboard.delete(session, origin, user_id, keep_an_admin=False)
        return Outcome.APPLIED

    async def provision(self, clerk_id: str) -> None:
        """Create the user of a session token if there is none yet; the webhook completes them.

        Raises:
            UserInactive: Clerk has deleted the user.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if await identities.find(self.database.reads, ForeignIdentity(CLERK, clerk_id)) is not None:
            return

        async def create(session: AsyncSession) -> None:
            await lock(session)
            row = await _known(session, clerk_id)
            if row.deleted_at_ms is not None:
                raise UserInactive
            await self._user(session, BY_CLERK, row, ClerkProfile(id=clerk_id, updated_at=0))

        await self.database.transact(create)

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _user(
        self, session: AsyncSession, origin: Origin, row: ClerkUserRow, profile: ClerkProfile
    ) -> Holder | None:
        """Return the locked user, who is linked or created if need be; None if they were deleted here.

        The identity decides: someone else may have claimed the former account, which keeps Clerk's id (C-11).
        """
        user_id = await identities.find_user(session, CLERK, profile.id)
        if user_id is None:
            own_id = profile.id if row.user_id is None else None
            row.suspension = row.plan = row.role = None
            user_id = await self._link_or_create(session, origin, profile, own_id)
        row.user_id = user_id
        return None if user_id is None else await credentials.hold(session, user_id)

    async def _link_or_create(
        self, session: AsyncSession, origin: Origin, profile: ClerkProfile, own_id: str | None
    ) -> str | None:
        """Return the user with this identity from now on; None if a deleted one has Clerk's id.

        Args:
            session: as for `apply`.
            origin: of the message.
            profile: what Clerk says.
            own_id: Clerk's id; None if another account has it now.
        """
        user_id = await self._linkable(session, origin, profile, own_id)
        is_new = user_id is None
        if user_id is None:
            user_id = await self._create(session, origin, profile, own_id)
        if user_id is None:
            return None
        await identities.link(session, user_id, ForeignIdentity(CLERK, profile.id))
        details = {"provider": CLERK, "subject": profile.id, "new_user": is_new}
        record(session, origin, action="user.identity_linked", user_id=user_id, details=details)
        return user_id

    async def _create(
        self, session: AsyncSession, origin: Origin, profile: ClerkProfile, own_id: str | None
    ) -> str | None:
        """Create the user, without an address that another account has; None if the id is taken."""
        for email in (profile.email, None):
            try:
                return await create_account(
                    session,
                    self._settings,
                    origin,
                    email=email,
                    name=profile.name,
                    password_hash=None,
                    login_type="clerk",
                    user_id=own_id,
                )
            except EmailTaken:  # or the id
                continue
        return None

    async def _linkable(
        self, session: AsyncSession, origin: Origin, profile: ClerkProfile, own_id: str | None
    ) -> str | None:
        """Return the account of an address that Clerk has verified, or an imported one with Clerk's id (C-11, C-13)."""
        imported = None if own_id is None else await credentials.hold(session, own_id)
        if imported is not None:
            return imported.user_id
        if profile.email is None or not profile.email_verified:
            return None
        holder = await credentials.hold_by_email(session, profile.email)
        if holder is None or await identities.has_one_at(session, holder.user_id, CLERK):
            return None
        if not holder.email_verified:
            await claim(session, origin, holder.user_id, keep_password=False)
        return holder.user_id

    async def _copy(
        self, session: AsyncSession, origin: Origin, row: ClerkUserRow, user: Holder, profile: ClerkProfile
    ) -> None:
        async def decide(holder: Holder) -> Yields:
            return await _yields(session, holder, profile.updated_at)

        await set_synced_email(session, origin, user, profile.email, verified=profile.email_verified, decide=decide)
        plan = profile.plan or ("FREE" if row.plan is not None else None)  # what Clerk no longer says
        await copy_profile(session, origin, user.user_id, name=profile.name, avatar_url=profile.avatar_url, plan=plan)
        row.plan = profile.plan
        await self._follow_role(session, origin, row, user.user_id, profile.role)
        await follow_suspension(session, origin, row, user.user_id, profile)

    async def _follow_role(
        self, session: AsyncSession, origin: Origin, row: ClerkUserRow, user_id: str, role: str | None
    ) -> None:
        """Grant the role that Clerk names, if it may, and withdraw the one that it granted before."""
        allowed = role if role in self._roles else None
        if row.role != allowed:
            granted = {} if allowed is None else {allowed: sources.CLERK}
            await administration.apply_rule_roles(
                session, origin, user_id, granted, undecided=frozenset(), given_by=sources.CLERK
            )
        row.role = allowed


async def _known(session: AsyncSession, clerk_id: str) -> ClerkUserRow:
    """Return the row about a user of Clerk; a new one if there is none."""
    row = await session.get(ClerkUserRow, clerk_id, with_for_update=True)
    if row is None:
        row = ClerkUserRow(clerk_id=clerk_id, updated_at_ms=0)
        session.add(row)
    return row


async def _yields(session: AsyncSession, holder: Holder, updated_at: int) -> Yields:
    """Return what happens to the holder of an address that Clerk gives to another user.

    At Clerk a verified address belongs to one user at a time, so the newer state is right.
    """
    subject = await identities.find_subject(session, holder.user_id, CLERK)
    known = select(ClerkUserRow.updated_at_ms).where(ClerkUserRow.clerk_id == subject)
    holder_updated_at = None if subject is None else await session.scalar(known)
    if holder_updated_at is None:
        return "keeps" if holder.email_verified else "loses everything"
    return "releases" if holder_updated_at < updated_at or not holder.email_verified else "keeps"
