"""Events about API keys and service tokens; each contains the state after the change, without the secret."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.models import ApiKeyRow
from idp.apikeys.shapes import key_id
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import ApiKeyChanged, KeyState, ServiceTokenChanged


def publish_creation(session: AsyncSession, row: ApiKeyRow) -> None:
    """Publish a new key or service token, whose row was flushed."""
    _publish(session, row, EventType.SERVICE_TOKEN_CREATED if row.user_id is None else EventType.API_KEY_CREATED)


def publish_change(session: AsyncSession, row: ApiKeyRow, type_: EventType) -> None:
    """Raise the version of a key or service token, and publish its change."""
    row.version += 1
    _publish(session, row, type_)


def publish_revocation(session: AsyncSession, row: ApiKeyRow) -> None:
    """Publish the revocation, as `publish_change`."""
    type_ = EventType.SERVICE_TOKEN_REVOKED if row.user_id is None else EventType.API_KEY_REVOKED
    publish_change(session, row, type_)


def _publish(session: AsyncSession, row: ApiKeyRow, type_: EventType) -> None:
    state = KeyState(
        id=str(row.id) if row.user_id is None else key_id(row.id),
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        version=row.version,
    )
    if row.user_id is None:
        data = ServiceTokenChanged(service_token=state)
        publish(session, type_, data, subject=f"service_token:{row.id}", sequence=row.version)
    else:
        key = ApiKeyChanged(user_id=row.user_id, api_key=state)
        publish(session, type_, key, subject=row.user_id, sequence=row.version)
