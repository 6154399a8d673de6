"""Administration of OAuth clients, with the metadata of RFC 7591."""

from typing import Annotated

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from idp import errors
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.paging import Offset, OptionalLimit
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts, requires_admin
from idp.principal.model import AuthMethod
from idp.principal.requests import AnyRequest
from idp.provider import manage_clients
from idp.provider.client_shapes import ClientList, ClientMetadata, ClientOut, DeletedClient
from idp.provider.clients import ClientRepository, Clients

_PATH = "/api/auth/admin/clients"
_ONE = _PATH + "/{client_id:str}"
_TAGS = ["OAuth"]
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_ERRORS = responses(errors.ClientNotFound, errors.AdminRequired)
_WEEK = 7 * 24 * 3600


class SecretRotation(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the present secret stays valid beside the new one."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=_WEEK, description="Seconds, at most a week.")] = 0


@post(
    _PATH,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Create a client",
    status_code=201,
    cache_control=NO_STORE,
    responses=responses(errors.ValidationFailed, errors.AdminRequired),
)
async def create_client(
    request: AnyRequest,
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    data: JSONBody[ClientMetadata],
) -> ClientOut:
    """Create a client. Its secret is returned only in this response."""
    return await manage_clients.create(database, clients, request.user, origin_of(request), data)


@get(
    _PATH,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="List clients",
    responses=responses(errors.AdminRequired),
)
async def list_clients(
    database: NamedDependency[Database], limit: OptionalLimit = None, offset: Offset = 0
) -> ClientList:
    """Return clients, newest first, all or one page."""
    async with database.transaction() as session:
        rows, total = await ClientRepository(session).page(limit=limit, offset=offset)
    return ClientList([ClientOut.of(row) for row in rows], total)


@get(_ONE, guards=[requires_admin], opt=_MANAGE, tags=_TAGS, summary="Get a client", responses=_ERRORS)
async def get_client(client_id: FromPath[str], database: NamedDependency[Database]) -> ClientOut:
    """Return a client, without its secret."""
    async with database.transaction() as session:
        return ClientOut.of(await ClientRepository(session).get_client(client_id))


@put(
    _ONE,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Replace a client",
    responses=_ERRORS | responses(errors.ValidationFailed),
)
async def replace_client(
    request: AnyRequest,
    client_id: FromPath[str],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    data: JSONBody[ClientMetadata],
) -> ClientOut:
    """Replace a client's metadata. Its tokens lose the scopes that it loses, at once.

    If it loses a grant type, the sessions that it has of users end. If it needs a secret and has none, one is returned.
    """
    origin = origin_of(request)
    return await manage_clients.change(
        database, request.user, client_id, lambda session, row: clients.update(session, origin, row, data)
    )


@post(
    _ONE + "/secret",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Rotate a client's secret",
    status_code=200,
    cache_control=NO_STORE,
    responses=_ERRORS | responses(errors.ClientHasNoSecret),
)
async def rotate_client_secret(
    request: AnyRequest,
    client_id: FromPath[str],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    data: JSONBody[SecretRotation],
) -> ClientOut:
    """Return a new secret; the present one stays valid for `overlap_seconds`."""
    origin, overlap = origin_of(request), data.overlap_seconds
    return await manage_clients.change(
        database,
        request.user,
        client_id,
        lambda session, row: clients.rotate(session, origin, row, overlap_seconds=overlap),
    )


@delete(
    _ONE,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Delete a client",
    status_code=200,
    responses=_ERRORS,
)
async def delete_client(
    request: AnyRequest,
    client_id: FromPath[str],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
) -> DeletedClient:
    """Delete a client. Its tokens are refused, and the sessions that it has of users end, at once."""
    origin = origin_of(request)
    await manage_clients.change(
        database, request.user, client_id, lambda session, row: clients.delete(session, origin, row)
    )
    return DeletedClient(success=True, client_id=client_id)


ROUTES = (create_client, list_clients, get_client, replace_client, rotate_client_secret, delete_client)
