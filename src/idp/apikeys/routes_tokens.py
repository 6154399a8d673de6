"""Routes of service tokens, for management (S2-20 to S2-24, C-09)."""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from idp import errors
from idp.apikeys import service, token_management
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.routes_keys import IdempotencyKey, IncludeRevoked
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import (
    Extended,
    Extension,
    NewToken,
    Revocation,
    Revoked,
    TokenList,
    TokenOut,
    TokenSecret,
)
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import InvalidTokenId
from idp.ops.openapi import responses
from idp.ops.paging import Offset, OptionalLimit
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts, requires_admin
from idp.principal.model import AuthMethod
from idp.principal.reauthorize import if_still_authorized
from idp.principal.requests import AnyRequest

_TAGS = ["Service tokens"]
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_WRITER = (errors.WriterBusy, errors.OutcomeUnknown, errors.DatabaseUnavailable)
_ONE_TOKEN = responses(errors.InvalidTokenId, errors.ServiceTokenNotFound, errors.AdminRequired)
TokenId = Annotated[str, PathParameter(schema_extra={"format": "uuid"})]


@post(
    "/auth/tokens",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Create a service token",
    status_code=201,
    cache_control=NO_STORE,
    responses=responses(errors.NameTaken, errors.ValidationFailed, errors.AdminRequired, *_WRITER),
)
async def create_token(
    request: AnyRequest,
    command_queue: NamedDependency[CommandQueue],
    key_factory: NamedDependency[KeyFactory],
    idempotency: NamedDependency[Idempotency],
    data: JSONBody[NewToken],
    idempotency_key: IdempotencyKey = None,
) -> TokenSecret:
    """Create a service token. It is returned only in this response. Names of live tokens are unique."""
    origin = origin_of(request)
    create = token_management.creation(key_factory, origin, data)
    create_once = idempotency.creation(create, TokenSecret, actor=origin.actor, key=idempotency_key, request=data)
    return await command_queue.submit("create_token", if_still_authorized(request.user, create_once, manages=True))


@get(
    "/auth/tokens",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="List service tokens",
    responses=responses(errors.AdminRequired),
)
async def list_tokens(
    database: NamedDependency[Database],
    include_revoked: IncludeRevoked = False,
    limit: OptionalLimit = None,
    offset: Offset = 0,
) -> TokenList:
    """Return service tokens, newest first, all or one page, without secrets."""
    async with database.transaction() as session:
        tokens, total = await service.list_tokens(session, include_revoked=include_revoked, limit=limit, offset=offset)
    return TokenList(tokens=tokens, total=total)


@get(
    "/auth/tokens/{token_id:str}",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Get a service token",
    responses=_ONE_TOKEN,
)
async def get_token(database: NamedDependency[Database], token_id: TokenId) -> TokenOut:
    """Return a service token, live or not."""
    async with database.transaction() as session:
        return await service.get_token(session, _parse(token_id))


@post(
    "/auth/tokens/{token_id:str}/revoke",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Revoke a service token",
    status_code=200,
    responses=_ONE_TOKEN | responses(errors.ValidationFailed, errors.OutcomeUnknown, errors.DatabaseUnavailable),
)
async def revoke_token(
    request: AnyRequest,
    command_queue: NamedDependency[CommandQueue],
    token_id: TokenId,
    data: JSONBody[Revocation | None] = None,
) -> Revoked:
    """Revoke a service token immediately. Revoking it again changes nothing."""
    row_id, reason = _parse(token_id), data.reason if data else None
    token = await token_management.revoke_token(command_queue, request.user, origin_of(request), row_id, reason)
    assert token.revoked_at is not None
    return Revoked(success=True, token_id=token.token_id, revoked_at=token.revoked_at)


@post(
    "/auth/tokens/{token_id:str}/extend",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Extend a service token",
    status_code=200,
    responses=_ONE_TOKEN | responses(errors.KeyRevoked, errors.NameTaken, errors.ValidationFailed, *_WRITER),
)
async def extend_token(
    request: AnyRequest,
    command_queue: NamedDependency[CommandQueue],
    token_id: TokenId,
    data: JSONBody[Extension],
) -> Extended:
    """Extend a token by a number of days from its expiry, or from now if it had none."""
    row_id, days = _parse(token_id), data.extend_days
    token = await token_management.extend_token(command_queue, request.user, origin_of(request), row_id, days)
    assert token.expires_at is not None
    return Extended(success=True, token_id=token.token_id, expires_at=token.expires_at)


def _parse(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidTokenId from None


ROUTES = (create_token, list_tokens, get_token, revoke_token, extend_token)
