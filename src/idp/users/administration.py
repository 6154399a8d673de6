"""Administration of users. Every function works inside the caller's transaction.

`idp.lifecycle.offboard` revokes a disabled user's credentials in the same transaction.
"""

from collections.abc import Collection, Mapping, Set

from msgspec import UNSET
from sqlalchemy import and_, delete, func, not_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement

from idp import clock
from idp.audit.record import Origin, record
from idp.errors import LastAdmin, UserNotFound
from idp.events.catalogue import EventType
from idp.principal.permissions import ADMIN
from idp.principal.sources import ADMIN as BY_ADMIN
from idp.users.email import email_key
from idp.users.models import RoleRow, UserAliasRow, UserRoleRow, UserRow
from idp.users.repository import UserRepository, change_fields
from idp.users.shapes import ManagedUser, RoleCount, UserChange, UserFilter
from idp.users.user_events import publish_changed

_IS_LIVE = UserRow.deleted_at.is_(None)
# Pending invitation: no password and no verified address.
_HAS_PENDING_INVITATION = and_(
    UserRow.login_type == "email", UserRow.password_hash.is_(None), UserRow.email_verified.is_(False)
)
_BY_FORMER_ID = select(UserAliasRow.user_id)
_MAX_ROLES = 500  # shown for a choice
_SOURCES = select(UserRoleRow.role, UserRoleRow.source)


async def list_users(
    session: AsyncSession, requested: UserFilter, *, limit: int, offset: int
) -> tuple[list[ManagedUser], int]:
    """Return a page of users, newest first, and the total number, without deleted ones."""
    rows, total = await UserRepository(session).page(*_conditions(requested), limit=limit, offset=offset)
    roles = await _roles_of(session, [row.id for row in rows])
    return [_out(row, roles[row.id]) for row in rows], total


async def list_after(
    session: AsyncSession, requested: UserFilter, *, after: str | None, limit: int
) -> tuple[list[ManagedUser], str | None]:
    """Return users by address, those without one last, without deleted ones and without counting.

    It reads the index of addresses from the position on, so a page of many users costs the same everywhere.

    Args:
        session: the caller's transaction.
        requested: the filter.
        after: the id of the last user of the page before; None for the first page.
        limit: size of a page.

    Returns:
        The page, and the id after which the next one begins; None if this is the last.
    """
    conditions = _conditions(requested)
    place = await session.scalar(select(UserRow.email_key).where(UserRow.id == after)) if after is not None else None
    rows: list[UserRow] = []
    if after is None or place is not None:
        addressed = UserRow.email_key.is_not(None) if place is None else UserRow.email_key > place
        query = select(UserRow).where(*conditions, addressed).order_by(UserRow.email_key).limit(limit + 1)
        rows += (await session.scalars(query)).all()
    if len(rows) <= limit:
        beyond = [UserRow.id > after] if after is not None and place is None else []
        query = select(UserRow).where(*conditions, UserRow.email_key.is_(None), *beyond).order_by(UserRow.id)
        rows += (await session.scalars(query.limit(limit + 1 - len(rows)))).all()
    roles = await _roles_of(session, [row.id for row in rows[:limit]])
    return [_out(row, roles[row.id]) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def _conditions(requested: UserFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_IS_LIVE]
    if requested.search is not None:
        columns = (UserRow.email, UserRow.name)
        parts = [column.icontains(requested.search, autoescape=True) for column in columns]
        by_id = or_(
            UserRow.id == requested.search, UserRow.id.in_(_BY_FORMER_ID.where(UserAliasRow.alias == requested.search))
        )
        conditions.append(or_(*parts, by_id, UserRow.email_key == email_key(requested.search)))
    if requested.role is not None:
        conditions.append(UserRow.id.in_(select(UserRoleRow.user_id).where(UserRoleRow.role == requested.role)))
    if requested.is_active is not None:
        conditions.append(UserRow.is_active.is_(requested.is_active))
    return conditions


async def get_user(session: AsyncSession, user_id: str) -> ManagedUser:
    """Return a user, also by a former id.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    try:
        row = await UserRepository(session).get_live(user_id)
    except UserNotFound:
        present_id = await session.scalar(_BY_FORMER_ID.where(UserAliasRow.alias == user_id))
        if present_id is None:
            raise
        row = await UserRepository(session).get_live(present_id)
    return _out(row, (await _roles_of(session, [row.id]))[row.id])


async def find_id(session: AsyncSession, text: str) -> str | None:
    """Return the id of the live user with this id, former id or address; None if there is none."""
    conditions = (
        UserRow.id == text,
        UserRow.id.in_(_BY_FORMER_ID.where(UserAliasRow.alias == text)),
        UserRow.email_key == email_key(text),
    )
    return await session.scalar(select(UserRow.id).where(or_(*conditions), _IS_LIVE).limit(1))


async def addresses(session: AsyncSession, user_ids: Collection[str]) -> dict[str, str]:
    """Return the addresses of those of these users that are live and have one, by id."""
    found = await session.execute(
        select(UserRow.id, UserRow.email).where(UserRow.id.in_(user_ids), UserRow.email.is_not(None), _IS_LIVE)
    )
    return {user_id: email for user_id, email in found if email is not None}


async def list_roles(session: AsyncSession) -> list[str]:
    """Return the names of all roles."""
    return list(await session.scalars(select(RoleRow.name).order_by(RoleRow.name).limit(_MAX_ROLES)))


async def count_roles(session: AsyncSession) -> list[RoleCount]:
    """Return all roles, with the number of users of each."""
    users = select(UserRoleRow.role, func.count().label("users")).group_by(UserRoleRow.role).subquery()
    query = select(RoleRow.name, RoleRow.description, func.coalesce(users.c.users, 0))
    rows = await session.execute(query.outerjoin(users, users.c.role == RoleRow.name).order_by(RoleRow.name))
    return [RoleCount(*row) for row in rows]


async def hold(session: AsyncSession, user_id: str) -> None:
    """Lock a user until the commit.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    await UserRepository(session).get_live(user_id, lock=True)


async def has_pending_invitation(session: AsyncSession, user_id: str) -> bool:
    """Whether a live user has a pending invitation."""
    return bool(await session.scalar(select(_HAS_PENDING_INVITATION).where(UserRow.id == user_id, _IS_LIVE)))


async def change(
    session: AsyncSession, origin: Origin, user_id: str, requested: UserChange, *, keep_an_admin: bool
) -> ManagedUser:
    """Change the given values. Only `is_active=True` is applied here; `offboard.disable` disables.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        user_id: the user.
        requested: the changes.
        keep_an_admin: refuse to remove the role of the last active administrator.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
        LastAdmin: the user is the last active administrator.
    """
    if keep_an_admin and requested.roles is not UNSET and ADMIN not in requested.roles:
        await check_admin_remains(session, without=user_id)
    row = await UserRepository(session).get_live(user_id, lock=True)
    changed = list(change_fields(session, origin, row, name=requested.name, plan=requested.plan))
    if requested.is_active is True and not row.is_active:
        row.is_active = True
        record(session, origin, action="user.enabled", user_id=user_id)
        changed.append("is_active")
    if requested.roles is not UNSET and await _set_roles(session, origin, row, set(requested.roles)):
        changed.append("roles")
    if changed:
        await publish_changed(session, origin, user_id, *changed)
    return await get_user(session, user_id)


async def grant(session: AsyncSession, origin: Origin, user_id: str, role: str) -> None:
    """Grant a user an additional role.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    held = (await _roles_of(session, [user_id]))[user_id]
    if await _set_roles(session, origin, row, {*held, role}):
        await publish_changed(session, origin, user_id, "roles")


async def apply_rule_roles(
    session: AsyncSession,
    origin: Origin,
    user_id: str,
    granted: Mapping[str, str],
    *,
    undecided: Set[str],
    given_by: str,
) -> bool:
    """Give a user the roles that claim rules grant, and take away what the same rules gave before.

    Roles with another source stay as they are.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        user_id: the user.
        granted: the roles that the rules give, and their sources.
        undecided: roles that stay if the user has them.
        given_by: how the sources of roles begin that these rules gave.

    Returns:
        Whether a role was taken away.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    found = await session.execute(_SOURCES.where(UserRoleRow.user_id == user_id))
    held = {row.role: row.source for row in found}
    ours = {role for role, source in held.items() if source is not None and source.startswith(given_by)}
    gone = ours - granted.keys() - undecided
    if await _set_roles(session, origin, row, (held.keys() | granted.keys()) - gone, sources=granted):
        await publish_changed(session, origin, user_id, "roles")
    return bool(gone)


async def mark_email_verified(session: AsyncSession, origin: Origin, user_id: str) -> None:
    """Mark a user's address as verified, on behalf of an operator.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    if not row.email_verified:
        row.email_verified = True
        record(session, origin, action="user.email_verified", user_id=user_id, details={"by": "operator"})
        await publish_changed(session, origin, user_id, "email_verified", also=EventType.USER_EMAIL_VERIFIED)


async def _set_roles(
    session: AsyncSession, origin: Origin, row: UserRow, requested: set[str], *, sources: Mapping[str, str] = {}
) -> bool:
    held = set((await _roles_of(session, [row.id]))[row.id])
    if requested == held:
        return False
    if added := sorted(requested - held):
        # A role is created when it is first granted.
        await session.execute(
            insert(RoleRow).values([{"name": role, "description": ""} for role in added]).on_conflict_do_nothing()
        )
        session.add_all([UserRoleRow(user_id=row.id, role=role, source=sources.get(role, BY_ADMIN)) for role in added])
    if gone := held - requested:
        await session.execute(delete(UserRoleRow).where(UserRoleRow.user_id == row.id, UserRoleRow.role.in_(gone)))
    row.updated_at = clock.now()
    details = {"roles": [sorted(held), sorted(requested)]}
    record(session, origin, action="user.roles_changed", user_id=row.id, details=details)
    return True


# --- for offboarding -------------------------------------------------------------------------------------------------


async def check_admin_remains(session: AsyncSession, *, without: str) -> None:
    """Refuse to lose the last active administrator, also with concurrent requests.

    Users with a pending invitation do not count.

    Args:
        session: the caller's transaction, which holds the locks until the commit.
        without: the id of the user who loses the role.

    Raises:
        LastAdmin: the user is the only one.
    """
    # Serializes removals of administrators; granting the role does not wait.
    await session.execute(select(RoleRow.name).where(RoleRow.name == ADMIN).with_for_update(key_share=True))
    holders = select(UserRoleRow.user_id).join(UserRow, UserRow.id == UserRoleRow.user_id)
    active = await session.scalars(
        holders.where(UserRoleRow.role == ADMIN, UserRow.is_active, _IS_LIVE, not_(_HAS_PENDING_INVITATION))
    )
    if list(active) == [without]:
        raise LastAdmin


async def deactivate(session: AsyncSession, user_id: str) -> bool:
    """Disable a user; False if already disabled.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    was_active, row.is_active = row.is_active, False
    return was_active


async def soft_delete(session: AsyncSession, user_id: str) -> None:
    """Mark a user as deleted, which frees the address; audit records keep the author.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    row.is_active, row.deleted_at = False, clock.now()


# --- shared ----------------------------------------------------------------------------------------------------------


async def _roles_of(session: AsyncSession, user_ids: list[str]) -> dict[str, tuple[str, ...]]:
    query = select(UserRoleRow.user_id, UserRoleRow.role).where(UserRoleRow.user_id.in_(user_ids))
    roles: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    for user_id, role in await session.execute(query.order_by(UserRoleRow.role)):
        roles[user_id].append(role)
    return {user_id: tuple(names) for user_id, names in roles.items()}


def _out(row: UserRow, roles: tuple[str, ...]) -> ManagedUser:
    names = [name for name in ManagedUser.__struct_fields__ if name not in {"user_id", "roles"}]
    return ManagedUser(user_id=row.id, roles=roles, **{name: getattr(row, name) for name in names})
