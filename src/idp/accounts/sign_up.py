"""Sign-up: create a user with default teams and domains and an audit record, in one transaction (S3-23 to S3-26)."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.directory.default_memberships import join_defaults
from idp.settings_schema import Accounts
from idp.users import service as users
from idp.users.user_events import publish_created


async def create_account(
    session: AsyncSession,
    settings: Accounts,
    origin: Origin,
    *,
    email: str | None,
    name: str | None,
    password_hash: str | None,
    login_type: str = "email",
    user_id: str | None = None,
) -> str:
    """Create a user in the default teams and domains, and return the id.

    Args:
        session: the caller's transaction.
        settings: the default teams and domains; unknown and inactive names are skipped.
        origin: the request's origin.
        email: as `parse_email` returned it; None for a user without an address.
        name: display name.
        password_hash: None for users without a password.
        login_type: how the user was created.
        user_id: the id, if another service has given one (C-13).

    Raises:
        EmailTaken: a live user has this address.
    """
    user_id = await users.create(
        session, email=email, name=name, password_hash=password_hash, login_type=login_type, user_id=user_id
    )
    await publish_created(session, origin, user_id, login_type=login_type)
    await join_defaults(session, user_id, teams=settings.default_teams, domains=settings.default_domains)
    record(session, origin, action="user.created", user_id=user_id, details={"login_type": login_type})
    return user_id
