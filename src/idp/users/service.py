"""Create and find users. Every function works inside the caller's transaction."""

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.errors import EmailTaken
from idp.principal import sources
from idp.principal.permissions import ROLE_MEANINGS, USER
from idp.users.email import email_key
from idp.users.models import RoleRow, UserRoleRow, UserRow


async def create(
    session: AsyncSession,
    *,
    email: str | None,
    name: str | None,
    password_hash: str | None,
    login_type: str = "email",
    roles: tuple[str, ...] = (USER,),
    source: str = sources.DEFAULT,
    user_id: str | None = None,
) -> str:
    """Create a user and return the id. Of concurrent calls with one address exactly one succeeds.

    Args:
        session: the caller's transaction.
        email: as `parse_email` returned it; None for a user without an address.
        name: display name.
        password_hash: from `Passwords.hash`; None for users without a password.
        login_type: how the user was created: `email`, `dev_header`, `oidc`, `clerk`.
        roles: names of roles.
        source: where the roles come from (`principal/sources.py`).
        user_id: the id, if another service has given one (C-13); no user has it.

    Raises:
        EmailTaken: a live user has this address.
    """
    user_id, now = user_id or str(uuid7()), clock.now()
    made = await session.execute(
        insert(UserRow)
        .values(
            id=user_id,
            email=email,
            email_key=None if email is None else email_key(email),
            email_verified=False,
            name=name,
            login_type=login_type,
            password_hash=password_hash,
            plan="FREE",
            is_active=True,
            version=1,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(UserRow.id)
    )
    if made.scalar_one_or_none() is None:
        raise EmailTaken
    session.add_all([UserRoleRow(user_id=user_id, role=role, source=source) for role in roles])
    await session.flush()
    return user_id


async def find_id_by_email(session: AsyncSession, email: str) -> str | None:
    """Return the id of the live user with this address."""
    return await session.scalar(
        select(UserRow.id).where(UserRow.email_key == email_key(email), UserRow.deleted_at.is_(None))
    )


async def exists(session: AsyncSession, user_id: str) -> bool:
    """Whether a live user has this id."""
    existing_id = await session.scalar(select(UserRow.id).where(UserRow.id == user_id, UserRow.deleted_at.is_(None)))
    return existing_id is not None


async def replace_hash(session: AsyncSession, user_id: str, *, old: str, new: str) -> None:
    """Store a stronger hash of the same password, unless the password changed meanwhile."""
    await session.execute(
        update(UserRow)
        .where(UserRow.id == user_id, UserRow.password_hash == old)
        .values(password_hash=new, updated_at=UserRow.updated_at)
    )


async def set_password(session: AsyncSession, user_id: str, password_hash: str) -> None:
    """Set a new password; pending sign-ins with the previous one fail."""
    await session.execute(
        update(UserRow)
        .where(UserRow.id == user_id)
        .values(
            password_hash=password_hash,
            password_version=UserRow.password_version + 1,
            updated_at=clock.now(),
        )
    )


async def ensure_roles(session: AsyncSession) -> None:
    """Create the built-in roles if missing."""
    rows = [{"name": name, "description": description} for name, description in ROLE_MEANINGS.items()]
    await session.execute(insert(RoleRow).values(rows).on_conflict_do_nothing())
