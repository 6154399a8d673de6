"""Routes of a user's own keys (S0-14 to S0-26). Interactive credentials only: a key cannot manage keys (C-29)."""

from typing import Annotated
from uuid import UUID

from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from idp import errors
from idp.apikeys import service
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.own_keys import Creation, OwnKeys
from idp.apikeys.shapes import KeyChange, KeyOut, KeySecret, NewKey, Rotation
from idp.apikeys.shapes import key_id as public_id
from idp.audit.record import AuditRecord, RecordFilter, origin_of, recent, redact_for_user
from idp.db.engine import Database
from idp.errors import KeyNotFound
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, OptionalLimit, page
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import requires_fresh_login_for_keys, requires_user
from idp.principal.model import User
from idp.principal.reauthorize import if_still_authorized
from idp.principal.requests import UserRequest

_TAGS = ["API keys"]
_WRITER = (errors.WriterBusy, errors.OutcomeUnknown, errors.DatabaseUnavailable)
_ONE_KEY = responses(errors.KeyNotFound)
IncludeRevoked = Annotated[bool, QueryParameter(description="Whether to include revoked ones.")]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+(?!\n)$",
        description="A request repeated with the same key within ten minutes gets the same answer.",
    ),
]


@post(
    "/v1/api-keys",
    guards=[requires_user, requires_fresh_login_for_keys],
    tags=_TAGS,
    summary="Create an API key",
    status_code=201,
    cache_control=NO_STORE,
    responses=responses(errors.ScopeNotGrantable, errors.TooManyKeys, errors.ValidationFailed, *_WRITER),
)
async def create_key(
    request: UserRequest,
    own_keys: NamedDependency[OwnKeys],
    idempotency: NamedDependency[Idempotency],
    data: JSONBody[NewKey],
    idempotency_key: IdempotencyKey = None,
) -> KeySecret:
    """Create an API key. The secret is returned only in this response."""
    origin = origin_of(request)

    def once(create: Creation) -> Creation:
        return idempotency.creation(create, KeySecret, actor=origin.actor, key=idempotency_key, request=data)

    return await own_keys.create(request.user, origin, data, once=once)


@get("/v1/api-keys", guards=[requires_user], tags=_TAGS, summary="List my API keys")
async def list_keys(
    request: UserRequest,
    database: NamedDependency[Database],
    include_revoked: IncludeRevoked = False,
    limit: OptionalLimit = None,
    offset: Offset = 0,
) -> Response[list[KeyOut]]:
    """Return your keys, newest first, all or one page, without secrets."""
    async with database.transaction() as session:
        items, total = await service.list_keys(
            session, _user(request).id, include_revoked=include_revoked, limit=limit, offset=offset
        )
    return page(request, items, total=total, limit=limit, offset=offset)


@get("/v1/api-keys/{key_id:str}", guards=[requires_user], tags=_TAGS, summary="Get an API key", responses=_ONE_KEY)
async def get_key(request: UserRequest, database: NamedDependency[Database], key_id: FromPath[str]) -> KeyOut:
    """Return one of your keys."""
    async with database.transaction() as session:
        return await service.get_key(session, _user(request).id, parse_key_id(key_id))


@patch(
    "/v1/api-keys/{key_id:str}",
    guards=[requires_user],
    tags=_TAGS,
    summary="Rename an API key",
    responses=_ONE_KEY | responses(errors.ValidationFailed, *_WRITER),
)
async def rename_key(
    request: UserRequest,
    command_queue: NamedDependency[CommandQueue],
    key_id: FromPath[str],
    data: JSONBody[KeyChange],
) -> KeyOut:
    """Rename one of your keys."""
    user_id, origin, row_id = _user(request).id, origin_of(request), parse_key_id(key_id)

    async def work(session: AsyncSession) -> KeyOut:
        return await service.rename_key(session, origin, user_id, row_id, data.name)

    return await command_queue.submit("rename_key", if_still_authorized(request.user, work))


@post(
    "/v1/api-keys/{key_id:str}/rotate",
    guards=[requires_user, requires_fresh_login_for_keys],
    tags=_TAGS,
    summary="Rotate an API key",
    status_code=200,
    cache_control=NO_STORE,
    responses=_ONE_KEY | responses(errors.KeyRevoked, errors.KeyExpired, errors.ValidationFailed, *_WRITER),
)
async def rotate_key(
    request: UserRequest,
    own_keys: NamedDependency[OwnKeys],
    key_id: FromPath[str],
    data: JSONBody[Rotation | None] = None,
) -> KeySecret:
    """Replace the secret of one of your keys. The new secret is returned only in this response.

    The old secret is revoked immediately, or after `overlap_seconds`.
    """
    overlap = data.overlap_seconds if data else 0
    return await own_keys.rotate(request.user, origin_of(request), parse_key_id(key_id), overlap_seconds=overlap)


@delete(
    "/v1/api-keys/{key_id:str}",
    guards=[requires_user],
    tags=_TAGS,
    summary="Revoke an API key",
    status_code=200,
    responses=_ONE_KEY | responses(errors.OutcomeUnknown, errors.DatabaseUnavailable),
)
async def revoke_key(request: UserRequest, own_keys: NamedDependency[OwnKeys], key_id: FromPath[str]) -> KeyOut:
    """Revoke one of your keys immediately. Revoking it again changes nothing."""
    return await own_keys.revoke(request.user, origin_of(request), parse_key_id(key_id))


@get(
    "/v1/api-keys/{key_id:str}/audit",
    guards=[requires_user],
    tags=_TAGS,
    summary="List audit records of an API key",
    responses=_ONE_KEY,
)
async def key_audit(
    request: UserRequest,
    database: NamedDependency[Database],
    key_id: FromPath[str],
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response[list[AuditRecord]]:
    """Return audit records of one of your keys, newest first. Addresses and user agents of other actors are omitted."""
    row_id, user_id = parse_key_id(key_id), _user(request).id
    async with database.transaction() as session:
        await service.get_key(session, user_id, row_id)
        about_key = RecordFilter(target=f"api_key:{public_id(row_id)}")
        items, total = await recent(session, about_key, limit=limit, offset=offset)
    items = [redact_for_user(each, user_id) for each in items]
    return page(request, items, total=total, limit=limit, offset=offset)


def parse_key_id(text: str) -> UUID:
    """Return the row's id from `key_<32 hexadecimal digits>` or a plain UUID.

    Raises:
        KeyNotFound: it is neither.
    """
    try:
        return UUID(text.removeprefix("key_"))
    except ValueError:
        raise KeyNotFound from None


def _user(request: UserRequest) -> User:
    assert request.user.user is not None
    return request.user.user


ROUTES = (create_key, list_keys, get_key, rename_key, rotate_key, revoke_key, key_audit)
