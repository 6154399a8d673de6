"""Administration of users: invite, list, show, change, disable and delete (S4-07, S4-23, C-14, C-26)."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Struct, UnsetType

from idp import errors
from idp.accounts import manage_users
from idp.accounts.invite import Invite
from idp.accounts.manage_users import By
from idp.accounts.shapes import Email
from idp.apikeys import service as api_keys
from idp.apikeys.shapes import KeyOut
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, OptionalLimit, page
from idp.ops.problems import invalid
from idp.principal.guards import accepts, read_by_shared_secret_admins, requires_admin
from idp.principal.model import AuthMethod, Principal
from idp.users import administration
from idp.users.email import parse_email
from idp.users.shapes import ManagedUser, PersonName, Plan, Roles, UserChange, UserFilter

_PATH = "/api/auth/admin/users"
_TAGS = ["Administration"]
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_READ = _MANAGE | read_by_shared_secret_admins()
_ONE_USER = responses(errors.UserNotFound, errors.AdminRequired)
_NO_NUL = r"^[^\x00]*$"
AdminRequest = Request[Principal, Any, Any]
Search = Annotated[
    str | None,
    QueryParameter(max_length=254, pattern=_NO_NUL, description="A part of the e-mail or name, or the full id."),
]
RoleFilter = Annotated[
    str | None, QueryParameter(max_length=64, pattern=_NO_NUL, description="Only users with this role, such as admin.")
]
ActiveFilter = Annotated[bool | None, QueryParameter(description="Only enabled (true) or disabled (false) users.")]


class Pagination(Struct, frozen=True):
    """Position of a page in the list."""

    total: int
    limit: int
    offset: int
    has_more: bool


class UserPage(Struct, frozen=True):
    """A page of users (S4-23)."""

    users: list[ManagedUser]
    pagination: Pagination
    message: str


class DeletedUser(Struct, frozen=True):
    """The deleted user, and the numbers of revoked API keys and ended sessions."""

    success: bool
    user_id: str
    revoked_keys: int
    ended_sessions: int


class InviteIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The user to invite. Defaults: role `user`, plan FREE."""

    email: Email
    name: PersonName | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


@get(
    _PATH,
    guards=[requires_admin],
    opt=_READ,
    tags=_TAGS,
    summary="List users",
    responses=responses(errors.AdminRequired, errors.FreshLoginRequired, errors.ValidationFailed),
)
async def list_users(
    database: NamedDependency[Database],
    limit: Limit = 10,
    offset: Offset = 0,
    search: Search = None,
    role: RoleFilter = None,
    is_active: ActiveFilter = None,
) -> UserPage:
    """Return a page of users, newest first, without deleted ones."""
    requested = UserFilter(search=search or None, role=role or None, is_active=is_active)
    async with database.transaction() as session:
        users, total = await administration.list_users(session, requested, limit=limit, offset=offset)
    has_more = offset + len(users) < total
    return UserPage(
        users=users,
        pagination=Pagination(total=total, limit=limit, offset=offset, has_more=has_more),
        message=f"Retrieved {len(users)} users",
    )


@post(
    _PATH,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Invite a user",
    status_code=200,
    responses=responses(
        errors.EmailTaken,
        errors.AdminRequired,
        errors.ValidationFailed,
        errors.MalformedJson,
        errors.BodyTooLarge,
        errors.DatabaseUnavailable,
    ),
)
async def invite_user(request: AdminRequest, invite: NamedDependency[Invite], data: JSONBody[InviteIn]) -> ManagedUser:
    """Create a user without a password, in the default teams and domains, and mail a link to set the password.

    For a user who has not accepted an invitation yet, the mail is sent again: the earlier link is revoked, and given
    values (`name`, `roles`, `plan`) replace the earlier ones. Any other address with an account is refused.
    """
    try:
        email = parse_email(data.email)
    except ValueError as error:
        raise invalid(["body", "email"], str(error)) from None
    requested = UserChange(roles=data.roles, plan=data.plan, name=data.name)
    return await invite.invite(email, requested, origin_of(request), host=request.user)


@get(
    f"{_PATH}/{{user_id:str}}",
    guards=[requires_admin],
    opt=_READ,
    tags=_TAGS,
    summary="Get a user",
    responses=_ONE_USER,
)
async def get_user(database: NamedDependency[Database], user_id: FromPath[str]) -> ManagedUser:
    """Return a user."""
    async with database.transaction() as session:
        return await administration.get_user(session, user_id)


@patch(
    f"{_PATH}/{{user_id:str}}",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Change a user",
    responses=_ONE_USER | responses(errors.LastAdmin, errors.ValidationFailed),
)
async def change_user(
    request: AdminRequest, database: NamedDependency[Database], user_id: FromPath[str], data: JSONBody[UserChange]
) -> ManagedUser:
    """Change a user's roles, plan or name; disable or enable the user.

    Disabling revokes all credentials at once, and API keys for good: enabling restores none.
    """
    return await manage_users.change(database, By(request.user, origin_of(request)), user_id, data)


@delete(
    f"{_PATH}/{{user_id:str}}",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Delete a user",
    status_code=200,
    responses=_ONE_USER | responses(errors.LastAdmin),
)
async def delete_user(
    request: AdminRequest, database: NamedDependency[Database], user_id: FromPath[str]
) -> DeletedUser:
    """Delete a user with API keys and sessions. The address becomes free; audit records stay."""
    ended = await manage_users.delete(database, By(request.user, origin_of(request)), user_id)
    return DeletedUser(success=True, user_id=user_id, revoked_keys=ended.keys, ended_sessions=ended.sessions)


@get(
    f"{_PATH}/{{user_id:str}}/api-keys",
    guards=[requires_admin],
    opt=_READ,
    tags=_TAGS,
    summary="List API keys of a user",
    responses=_ONE_USER,
)
async def user_keys(
    request: AdminRequest,
    database: NamedDependency[Database],
    user_id: FromPath[str],
    limit: OptionalLimit = None,
    offset: Offset = 0,
) -> Response[list[KeyOut]]:
    """Return all API keys of a user, including revoked ones, newest first, without secrets."""
    async with database.transaction() as session:
        await administration.get_user(session, user_id)
        items, total = await api_keys.list_keys(session, user_id, include_revoked=True, limit=limit, offset=offset)
    return page(request, items, total=total, limit=limit, offset=offset)


ROUTES = (list_users, invite_user, get_user, change_user, delete_user, user_keys)
