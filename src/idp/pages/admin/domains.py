"""The pages /admin/domains and /admin/domains/{id}."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.db.engine import Database
from idp.directory.domain_management import DOMAIN_MANAGEMENT
from idp.directory.domain_users import DOMAIN_USERS
from idp.directory.domains import DOMAINS
from idp.directory.shapes import DomainChange, NewDomain
from idp.pages.admin.groups import GroupPages, Kind
from idp.pages.admin.routes import Answer, Page, admin_form, admin_page
from idp.pages.signed_in import SignedInPages
from idp.principal.requests import AnyRequest

_PATH = "/admin/domains"
_ONE = f"{_PATH}/{{domain_id:uuid}}"
_KIND = Kind(
    path=_PATH,
    section="admin_domains",
    groups=DOMAINS,
    members=DOMAIN_USERS,
    management=DOMAIN_MANAGEMENT,
    new=NewDomain,
    change=DomainChange,
    fields=("key", "name", "parent_domain_id"),
    nullable=("parent_domain_id",),
    list_template="admin/domains.html",
)


@admin_page(_PATH)
async def domains(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List domains."""
    return await GroupPages(_KIND, request, signed_in_pages, database).list()


@admin_form(_PATH)
async def create_domain(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Answer:
    """Create a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).create()


@admin_page(_ONE)
async def domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Page:
    """Show a domain with its users."""
    return await GroupPages(_KIND, request, signed_in_pages, database).open(domain_id)


@admin_form(f"{_ONE}/change")
async def change_domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Answer:
    """Rename a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).change(domain_id)


@admin_form(f"{_ONE}/activate")
async def activate_domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Answer:
    """Activate a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).activate(domain_id, is_active=True)


@admin_form(f"{_ONE}/deactivate")
async def deactivate_domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Answer:
    """Deactivate a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).activate(domain_id, is_active=False)


@admin_form(f"{_ONE}/members/put")
async def put_domain_member(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Answer:
    """Add a user to a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).put_member(domain_id)


@admin_form(f"{_ONE}/members/remove")
async def remove_domain_member(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    domain_id: FromPath[UUID],
) -> Answer:
    """Remove a user from a domain."""
    return await GroupPages(_KIND, request, signed_in_pages, database).remove_member(domain_id)


ROUTES = (
    domains,
    create_domain,
    domain,
    change_domain,
    activate_domain,
    deactivate_domain,
    put_domain_member,
    remove_domain_member,
)
