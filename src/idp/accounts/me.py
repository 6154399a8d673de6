"""A user's own profile: PATCH and DELETE /v1/me, GET /v1/me/export."""

from typing import Annotated

from litestar import MediaType, Response, delete, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.admin_users import DeletedUser
from idp.accounts.my_data import Export, collect_export, stream_export
from idp.apikeys.service import lock
from idp.audit.record import origin_of
from idp.authn import verdict_responses
from idp.authn.resolve import load_user
from idp.authn.shapes import MeV1
from idp.authn.verdicts import Verdict
from idp.db.engine import Database
from idp.lifecycle import offboard
from idp.ops.openapi import documents, responses
from idp.ops.problems import invalid
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import requires_fresh_login, requires_user
from idp.principal.model import Principal, User
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import UserRequest
from idp.users import credentials
from idp.users.email import email_key
from idp.users.profile import edit_profile
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
    user_id = _caller(request).id
    async with database.transaction() as session:
        await credentials.hold(session, user_id)
        await reauthorize(session, request.user)
        await edit_profile(session, origin_of(request), user_id, data)
        changed = Principal(user=await load_user(session, user_id), credential=request.user.credential)
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
    async with database.transaction() as session:
        export = await collect_export(session, _caller(request).id)
    response_headers = {"Content-Disposition": f'attachment; filename="idp-export-{export.exported_at:%Y-%m-%d}.json"'}
    return Stream(stream_export(database, export), media_type=MediaType.JSON, headers=response_headers)


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
async def delete_me(request: UserRequest, database: NamedDependency[Database], data: JSONBody[Farewell]) -> DeletedUser:
    """Delete the account with its API keys and sessions permanently. `confirm` must repeat the e-mail.

    The address becomes free at once; audit records stay.
    """
    user = _caller(request)
    _check_confirmation(user, data.confirm)
    async with database.transaction() as session:
        await lock(session)
        await credentials.hold(session, user.id)
        await reauthorize(session, request.user)
        ended = await offboard.delete(session, origin_of(request), user.id, keep_an_admin=True)
    return DeletedUser(success=True, user_id=user.id, revoked_keys=ended.keys, ended_sessions=ended.sessions)


def _caller(request: UserRequest) -> User:
    user = request.user.user
    assert user is not None
    return user


def _check_confirmation(user: User, confirmed: str) -> None:
    """Check the confirmation.

    Raises:
        ValidationFailed: it does not match.
    """
    confirms = confirmed == user.id if user.email is None else email_key(confirmed) == email_key(user.email)
    if not confirms:
        raise invalid(["body", "confirm"], "Repeat your e-mail to delete your account, or your id if you have none.")


ROUTES = (edit_me, export_me, delete_me)
