"""Events about imported users, with the origin `import`; only with `--emit-events`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from idp.events.catalogue import EventType
from idp.events.shapes import EventData, UserChanged, UserDeleted, UserReference, UserState
from idp.importing.batch import Batch
from idp.principal.permissions import ADMIN, USER

_OWN = ", ".join(name for name in UserState.__struct_fields__ if name not in {"role", "roles"})
_STATES = f"""
SELECT {_OWN}, ARRAY(SELECT role FROM idp.user_roles WHERE user_id = u.id ORDER BY role) AS roles
  FROM idp.users u WHERE id = ANY($1) AND deleted_at IS NULL
"""  # noqa: S608  names of columns
_CHANGED = ("email", "email_verified", "name", "avatar_url", "roles", "plan", "is_active")


async def users(batch: Batch, *, created: Sequence[str], updated: Sequence[str]) -> None:
    """Publish created and updated users, given by their ids, after all statements."""
    await _publish(batch, created, EventType.USER_CREATED, ())
    await _publish(batch, updated, EventType.USER_UPDATED, _CHANGED)


async def linked(batch: Batch, user_id: str, *, former: str | None) -> None:
    """Publish that an account was linked; with a former id, the user with that id is deleted and this one created."""
    if former is None:
        await _publish(batch, [user_id], EventType.USER_UPDATED, _CHANGED)
        return
    deleted = UserDeleted(user=UserReference(id=former), origin="import", deleted_at=batch.now)
    add(batch, EventType.USER_DELETED, deleted, subject=former)
    await _publish(batch, [user_id], EventType.USER_CREATED, ())


async def _publish(batch: Batch, user_ids: Sequence[str], type_: EventType, changed: tuple[str, ...]) -> None:
    if not batch.options.emit_events or not user_ids:
        return
    for row in await batch.fetch(_STATES, list(user_ids)):
        state = _state(row)
        data = UserChanged(user=state, origin="import", changed=changed)
        add(batch, type_, data, subject=state.id, sequence=state.version)


def _state(row: Any) -> UserState:
    roles = tuple(row["roles"])
    return UserState(**{**row, "role": ADMIN if ADMIN in roles else USER, "roles": roles})


def add(batch: Batch, type_: EventType, data: EventData, *, subject: str, sequence: int | None = None) -> None:
    """Add an event to the transaction, if events are wanted."""
    if batch.options.emit_events:
        batch.events.append((type_.value, subject, sequence, msgspec.json.encode(data).decode()))
