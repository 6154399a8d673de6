"""A user's own profile: PATCH and DELETE /v1/me, GET /v1/me/export."""

from typing import Annotated

from litestar import MediaType, Response, delete, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.admin_users import DeletedUser
from idp.accounts.delete_account import DeleteAccount, check_confirmation
from idp.accounts.my_data import Export, export_for
from idp.accounts.own_profile import edit_own
from idp.audit.record import origin_of
from idp.authn import verdict_responses
from idp.authn.shapes import MeV1
from idp.authn.verdicts import Verdict
from idp.db.engine import Database
from idp.ops.openapi import documents, responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import requires_fresh_login, requires_user
from idp.principal.model import Principal, User
from idp.principal.requests import UserRequest
from idp.users.shapes import ProfileChange

_PATH = "/v1/me"
_TAGS = ["My account"]
_BODY = (errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge, errors.DatabaseUnavailable)


class Farewell(Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a deletion."""

    confirm: Annotated[
        str,
        Meta(max_length=512, examples=["ada@example.com"], description="Your own e-mail, or your id if you have none."),
    ]


@patch(
    _PATH,
    guards=[requires_user],
    tags=_TAGS,
    summary="Change my name or avatar",
    cache_control=NO_STORE,
    responses=documents(MeV1) | responses(errors.UserNotFound, errors.SharedSecretToken, *_BODY),
)
async def edit_me(
    request: UserRequest, database: NamedDependency[Database], data: JSONBody[ProfileChange]
) -> Response[bytes]:
    """Change the given members and return the profile like GET /v1/me. Address and password have separate routes."""
    user = await edit_own(database, request.user, origin_of(request), data)
    changed = Principal(user=user, credential=request.user.credential)
    return Response(verdict_responses.me(Verdict(changed), _PATH), media_type=MediaType.JSON)


@get(
    f"{_PATH}/export",
    guards=[requires_user],
    tags=_TAGS,
    summary="Export my data",
    cache_control=NO_STORE,
    responses=documents(Export) | responses(errors.SharedSecretToken, errors.DatabaseUnavailable),
)
async def export_me(request: UserRequest, database: NamedDependency[Database]) -> Stream:
    """Return all data of the user as one JSON document for download, without secrets."""
    if request.user.credential.shared_secret:
        raise errors.SharedSecretToken
    return await export_for(database, request.user)


@delete(
    _PATH,
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Delete my account",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(
        errors.FreshLoginRequired, errors.LastAdmin, errors.UserNotFound, errors.SharedSecretToken, *_BODY
    ),
)
async def delete_me(
    request: UserRequest, delete_account: NamedDependency[DeleteAccount], data: JSONBody[Farewell]
) -> DeletedUser:
    """Delete the account with its API keys and sessions permanently and at once. `confirm` must repeat the e-mail.

    The address becomes free at once; audit records stay. The page /account/data waits for
    `accounts.deletion_grace_days`.
    """
    user = _caller(request)
    check_confirmation(user, data.confirm)
    ended = await delete_account.now(request.user, origin_of(request))
    return DeletedUser(success=True, user_id=user.id, revoked_keys=ended.keys, ended_sessions=ended.sessions)


def _caller(request: UserRequest) -> User:
    user = request.user.user
    assert user is not None
    return user


ROUTES = (edit_me, export_me, delete_me)
