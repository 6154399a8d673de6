"""Events about a user: each raises the user's version and contains the user after the change."""

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import BY_CLERK, Origin
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import UserChanged, UserDeleted, UserOrigin, UserReference, UserState
from idp.principal.permissions import ADMIN, USER
from idp.users.models import UserRoleRow, UserRow

_ROLES = func.array(
    select(UserRoleRow.role).where(UserRoleRow.user_id == UserRow.id).order_by(UserRoleRow.role).scalar_subquery()
)
_OWN = [getattr(UserRow, name) for name in UserState.__struct_fields__ if name not in {"role", "roles"}]
_COLUMNS = (*_OWN, _ROLES.label("roles"))
_CREATED_BY: dict[str, UserOrigin] = {"email": "register", "oidc": "oidc", "clerk": "clerk", "dev_header": "dev_header"}
_BY_ADMIN = ("user:", "service:")


async def publish_created(session: AsyncSession, origin: Origin, user_id: str, *, login_type: str) -> None:
    """Publish a new user, after the roles were added.

    Args:
        session: the transaction.
        origin: who created the user: with `login_type` it gives the event's `origin`.
        user_id: the user.
        login_type: of the user.
    """
    by_others = origin_of_change(origin, user_id)
    came_by = by_others if by_others in {"admin", "system"} else _CREATED_BY.get(login_type, "import")
    await session.flush()
    state = _state((await session.execute(select(*_COLUMNS).where(UserRow.id == user_id))).mappings().one())
    publish(
        session,
        EventType.USER_CREATED,
        UserChanged(user=state, origin=came_by),
        subject=user_id,
        sequence=state.version,
    )


async def publish_changed(
    session: AsyncSession, origin: Origin, user_id: str, *changed: str, also: EventType | None = None
) -> None:
    """Publish a change of a user, after all its statements.

    Args:
        session: the transaction.
        origin: who changed the user.
        user_id: the user.
        changed: names of `UserState`, or `password`.
        also: a further event with the same data and version, such as `idp.user.password_reset`.
    """
    state = await _raise_version(session, user_id)
    data = UserChanged(user=state, origin=origin_of_change(origin, user_id), changed=changed)
    for type_ in (EventType.USER_UPDATED, also):
        if type_ is not None:
            publish(session, type_, data, subject=user_id, sequence=state.version)


async def publish_deleted(session: AsyncSession, origin: Origin, user_id: str) -> None:
    """Publish the deletion of a user; the event has no personal data."""
    state = await _raise_version(session, user_id)
    deleted = UserDeleted(
        user=UserReference(id=user_id),
        origin=origin_of_change(origin, user_id),
        deleted_at=state.updated_at,
    )
    publish(session, EventType.USER_DELETED, deleted, subject=user_id, sequence=state.version)


def origin_of_change(origin: Origin, user_id: str) -> UserOrigin:
    """Return who changed a user. A link in a mail counts as the user."""
    if origin.actor == "system":
        return "system"
    if origin.actor == BY_CLERK.actor:
        return "clerk"
    return "admin" if origin.actor.startswith(_BY_ADMIN) and origin.actor != f"user:{user_id}" else "self"


async def _raise_version(session: AsyncSession, user_id: str) -> UserState:
    await session.flush()  # changes of ORM rows
    raised = update(UserRow).where(UserRow.id == user_id).values(version=UserRow.version + 1, updated_at=clock.now())
    return _state((await session.execute(raised.returning(*_COLUMNS))).mappings().one())


def _state(row: RowMapping) -> UserState:
    roles = tuple(row["roles"])
    return UserState(**{**row, "role": ADMIN if ADMIN in roles else USER, "roles": roles})
