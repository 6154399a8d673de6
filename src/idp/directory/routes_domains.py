"""Routes of domains: any caller can list them, administrators manage them (S3-33, S3-34, S3-73)."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from idp import errors
from idp.db.engine import Database
from idp.directory.domain_management import DOMAIN_MANAGEMENT
from idp.directory.shapes import DomainChange, DomainOut, DomainUser, NewDomain, Removed
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, OptionalLimit
from idp.principal.guards import DELEGATED, MACHINES, accepts, requires_admin, requires_principal
from idp.principal.model import AuthMethod, Domain, Principal
from idp.principal.requests import AnyRequest

_TAGS = ["Domains"]
_READ_MINE = accepts(*DELEGATED, AuthMethod.ADMIN_TOKEN)
_READ_ALL = accepts(*MACHINES, AuthMethod.ADMIN_TOKEN)
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_BY_ADMIN: dict[str, Any] = {"guards": [requires_admin], "opt": _MANAGE, "tags": _TAGS}
_ONE_DOMAIN = responses(errors.DomainNotFound, errors.AdminRequired)


@get("/domains", guards=[requires_principal], opt=_READ_MINE, tags=_TAGS, sync_to_thread=False)
def my_domains(request: Request[Principal, Any, Any]) -> tuple[Domain, ...]:
    """Return the caller's active domains; a service has none."""
    return request.user.user.domains if request.user.user else ()


@get("/domains/all", guards=[requires_principal], opt=_READ_ALL, tags=_TAGS)
async def all_domains(
    request: AnyRequest, database: NamedDependency[Database], limit: OptionalLimit = None, offset: Offset = 0
) -> Response[list[DomainOut]]:
    """Return the active domains, all or one page."""
    return await DOMAIN_MANAGEMENT.list_active(request, database, limit=limit, offset=offset)


@post(
    "/domains",
    **_BY_ADMIN,
    status_code=201,
    responses=responses(errors.DomainKeyTaken, errors.DomainCycle, errors.DomainNotFound, errors.AdminRequired),
)
async def create_domain(
    request: AnyRequest, database: NamedDependency[Database], data: JSONBody[NewDomain]
) -> DomainOut:
    """Create a domain, inside a parent if one is given."""
    return await DOMAIN_MANAGEMENT.create(request, database, data)


@get("/domains/{domain_id:uuid}", **_BY_ADMIN, responses=_ONE_DOMAIN)
async def get_domain(database: NamedDependency[Database], domain_id: FromPath[UUID]) -> DomainOut:
    """Return a domain, active or not."""
    return await DOMAIN_MANAGEMENT.get(database, domain_id)


@patch(
    "/domains/{domain_id:uuid}",
    **_BY_ADMIN,
    responses=_ONE_DOMAIN | responses(errors.DomainCycle, errors.ValidationFailed),
)
async def change_domain(
    request: AnyRequest, database: NamedDependency[Database], domain_id: FromPath[UUID], data: JSONBody[DomainChange]
) -> DomainOut:
    """Rename, move, deactivate or activate a domain."""
    return await DOMAIN_MANAGEMENT.change(request, database, domain_id, data)


@delete("/domains/{domain_id:uuid}", **_BY_ADMIN, status_code=200, responses=_ONE_DOMAIN)
async def deactivate_domain(
    request: AnyRequest, database: NamedDependency[Database], domain_id: FromPath[UUID]
) -> DomainOut:
    """Deactivate a domain. It is removed from principals immediately. Nested domains are not changed."""
    return await DOMAIN_MANAGEMENT.change(request, database, domain_id, DomainChange(is_active=False))


@get("/domains/{domain_id:uuid}/users", **_BY_ADMIN, responses=_ONE_DOMAIN)
async def domain_users(
    request: AnyRequest,
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response[list[DomainUser]]:
    """Return a page of a domain's users."""
    return await DOMAIN_MANAGEMENT.list_members(request, database, domain_id, limit=limit, offset=offset)


@get(
    "/domains/{domain_id:uuid}/users/{user_id:str}",
    **_BY_ADMIN,
    responses=_ONE_DOMAIN | responses(errors.DomainNotFound, errors.MembershipNotFound),
)
async def get_domain_user(
    database: NamedDependency[Database], domain_id: FromPath[UUID], user_id: FromPath[str]
) -> DomainUser:
    """Return the assignment of a user to a domain."""
    return await DOMAIN_MANAGEMENT.get_member(database, domain_id, user_id)


@put(
    "/domains/{domain_id:uuid}/users/{user_id:str}",
    **_BY_ADMIN,
    responses=_ONE_DOMAIN | responses(errors.DomainNotFound, errors.UserNotFound),
)
async def add_domain_user(
    request: AnyRequest, database: NamedDependency[Database], domain_id: FromPath[UUID], user_id: FromPath[str]
) -> DomainUser:
    """Assign a user to a domain."""
    return await DOMAIN_MANAGEMENT.put_member(request, database, domain_id, user_id)


@delete("/domains/{domain_id:uuid}/users/{user_id:str}", **_BY_ADMIN, status_code=200, responses=_ONE_DOMAIN)
async def remove_domain_user(
    request: AnyRequest, database: NamedDependency[Database], domain_id: FromPath[UUID], user_id: FromPath[str]
) -> Removed:
    """Remove a user from a domain; removing them again is not an error."""
    return await DOMAIN_MANAGEMENT.remove_member(request, database, domain_id, user_id)


ROUTES = (
    my_domains,
    all_domains,
    create_domain,
    get_domain,
    change_domain,
    deactivate_domain,
    domain_users,
    get_domain_user,
    add_domain_user,
    remove_domain_user,
)
