"""Export all data of a user as one JSON document, without secrets and digests."""

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import MediaType
from litestar.response import Stream
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.shapes import AppInfo
from idp.apikeys import service as api_keys
from idp.apikeys.shapes import KeyOut
from idp.audit.record import AuditRecord, Position, RecordFilter, before, recent, redact_for_user
from idp.authn.resolve import load_user
from idp.db.engine import Database
from idp.principal.guards import check_not_for_support
from idp.principal.model import Principal, User
from idp.sessions import apps
from idp.sessions.models import SessionRow
from idp.users.profile import list_identities
from idp.users.shapes import Identity

_BATCH_SIZE = 1000  # audit records in memory


class ExportedSession(Struct, frozen=True):
    """A session, live or ended, without its credentials; in one of support, who acted and why."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    device_info: Any
    user_agent: str | None
    ip_address: str | None
    amr: tuple[str, ...]
    ended_at: datetime | None
    ended_reason: str | None
    actor_id: str | None
    actor_reason: str | None
    apps: list[AppInfo]


class Export(Struct, frozen=True):
    """All data of a user. `profile` has roles, teams and domains; audit records are newest first."""

    exported_at: datetime
    profile: User
    identities: list[Identity]
    api_keys: list[KeyOut]
    sessions: list[ExportedSession]
    audit_records: list[AuditRecord]


async def export_for(database: Database, caller: Principal) -> Stream:
    """Return the download of all data of the caller.

    Raises:
        SupportSession: an administrator acts as the user.
        UserInactive: the user was disabled or deleted meanwhile.
    """
    check_not_for_support(caller)
    async with database.transaction() as session:
        export = await collect_export(session, caller.user_id)
    name = f"idp-export-{export.exported_at:%Y-%m-%d}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(stream_export(database, export), media_type=MediaType.JSON, headers=headers)


async def collect_export(session: AsyncSession, user_id: str) -> Export:
    """Return all data of a user, with only the newest audit records.

    Raises:
        UserInactive: the user was disabled or deleted meanwhile.
    """
    keys, _ = await api_keys.list_keys(session, user_id, include_revoked=True, limit=None, offset=0)
    records, _ = await recent(session, RecordFilter(user_id=user_id), limit=_BATCH_SIZE, offset=0)
    return Export(
        exported_at=clock.now(),
        profile=await load_user(session, user_id),
        identities=await list_identities(session, user_id),
        api_keys=keys,
        sessions=await _sessions(session, user_id),
        audit_records=records,
    )


async def stream_export(database: Database, export: Export) -> AsyncIterator[bytes]:
    """Yield an export as JSON, with all audit records."""
    user_id, records = export.profile.id, export.audit_records
    head = msgspec.json.encode(msgspec.structs.replace(export, audit_records=[]))
    yield head.removesuffix(b"]}")
    separator = b""
    while records:
        for record in records:
            yield separator + msgspec.json.encode(redact_for_user(record, user_id))
            separator = b","
        if len(records) < _BATCH_SIZE:
            break
        async with database.transaction() as session:
            requested, last = RecordFilter(user_id=user_id), Position.of(records[-1])
            records = await before(session, requested, last, limit=_BATCH_SIZE)
    yield b"]}"


async def _sessions(session: AsyncSession, user_id: str) -> list[ExportedSession]:
    names = [name for name in ExportedSession.__struct_fields__ if name != "apps"]
    rows = await session.execute(
        select(*(getattr(SessionRow, name) for name in names))
        .where(SessionRow.user_id == user_id, SessionRow.parent_id.is_(None))
        .order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
    )
    of_apps = defaultdict(list)
    for each in await apps.find(session, user_id, also_ended=True):
        of_apps[each.parent_id].append(AppInfo.of(each))
    return [ExportedSession(**{**row, "amr": tuple(row["amr"]), "apps": of_apps[row["id"]]}) for row in rows.mappings()]
