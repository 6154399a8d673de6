"""The second factors of a user: list, set up and remove; for administrators: list and reset."""

from datetime import datetime
from typing import Annotated, Any, Self

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.manage_factors import FactorState, ManageFactors
from idp.accounts.second_factor_routes import Code, mode_of
from idp.accounts.shapes import SessionOut
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.plain_text import LINE
from idp.principal.guards import accepts, check_fresh, requires_admin, requires_fresh_login, requires_user
from idp.principal.model import AuthMethod, Principal
from idp.principal.requests import UserRequest, user_id_of
from idp.users import administration

_MINE, _OF_USER = "/api/auth/factors", "/api/auth/admin/users/{user_id:str}/factors"
_TAGS, _ADMIN_TAGS = ["Second factors"], ["Administration"]
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_BODY = (errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge)
AdminRequest = Request[Principal, Any, Any]


class Factors(Struct, frozen=True):
    """The second factors of a user. `due_at`: until when they may sign in without one, if the policy requires one."""

    totp: bool
    totp_since: datetime | None
    totp_last_used: datetime | None
    passkeys: int
    recovery_codes_left: int
    required: bool
    due_at: datetime | None

    @classmethod
    def of(cls, state: FactorState) -> Self:
        """Return what its user and administrators see of it."""
        had = state.factors
        return cls(
            totp=had.totp_since is not None,
            totp_since=had.totp_since,
            totp_last_used=had.totp_last_used,
            passkeys=had.passkeys,
            recovery_codes_left=had.recovery_codes,
            required=state.required,
            due_at=state.due_at,
        )


class TotpStarted(Struct, frozen=True):
    """A secret for an authenticator app: as text, and as the URI of a QR code. `enrolment` goes back with a code."""

    secret: str
    uri: str
    enrolment: str


class ConfirmTotpIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The enrolment, and the code that the app shows."""

    enrolment: Annotated[str, Meta(max_length=4096, examples=["eyJhbGciOiJBMjU2S1ciLCJl…"])]
    code: Code

    def __repr__(self) -> str:
        return "ConfirmTotpIn(hidden)"


class TotpConfirmed(Struct, frozen=True):
    """The app is set up. `recovery_codes` are shown once, and empty if there were some; `session` replaces that of the
    request, and is null for a caller without one.
    """

    recovery_codes: list[str]
    session: SessionOut | None


class FactorRemoved(Struct, frozen=True):
    """The app was removed."""

    success: bool


class RecoveryCodeList(Struct, frozen=True):
    """New recovery codes, shown once; earlier ones no longer work."""

    recovery_codes: list[str]


class ResetFactorsIn(Struct, frozen=True, forbid_unknown_fields=True):
    """How the administrator knows that the user has lost their factors."""

    reason: Annotated[str, Meta(min_length=5, max_length=500, pattern=LINE, examples=["Lost phone, met in person"])]


class FactorsReset(Struct, frozen=True):
    """The user, whose factors were removed, and the number of sessions ended."""

    success: bool
    user_id: str
    ended_sessions: int


@get(_MINE, guards=[requires_user], tags=_TAGS, summary="List my second factors")
async def get_factors(request: UserRequest, manage_factors: NamedDependency[ManageFactors]) -> Factors:
    """Return what the user has, and whether they must have one."""
    return Factors.of(await manage_factors.state(user_id_of(request)))


@post(
    f"{_MINE}/totp",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Begin to set up an authenticator app",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.FreshLoginRequired),
)
async def begin_totp(request: UserRequest, manage_factors: NamedDependency[ManageFactors]) -> TotpStarted:
    """Return a new secret. Nothing is stored until a code of it is confirmed, within 30 minutes."""
    begun = await manage_factors.begin_totp(user_id_of(request))
    return TotpStarted(begun.secret, begun.uri, begun.sealed)


@post(
    f"{_MINE}/totp/confirm",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Set up an authenticator app",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(
        errors.FreshLoginRequired,
        errors.SecondFactorInvalid,
        errors.SecondFactorChanged,
        errors.EnrolmentExpired,
        *_BODY,
    ),
)
async def confirm_totp(
    request: UserRequest, manage_factors: NamedDependency[ManageFactors], data: JSONBody[ConfirmTotpIn]
) -> Response[TotpConfirmed]:
    """Store the app, or replace the one that the user has. The session goes on with `acr` "2" as a new one."""
    caller = request.user
    done = await manage_factors.confirm_totp(request, caller, data.enrolment, data.code, mode=mode_of(caller))
    answer = TotpConfirmed(list(done.recovery_codes), done.started.answer if done.started else None)
    return Response(answer, cookies=list(done.started.cookies) if done.started else None)


@delete(
    f"{_MINE}/totp",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Remove the authenticator app",
    status_code=200,
    responses=responses(errors.FreshLoginRequired, errors.FactorNotFound, errors.SecondFactorNeeded),
)
async def remove_totp(request: UserRequest, manage_factors: NamedDependency[ManageFactors]) -> FactorRemoved:
    """Remove the app; with the last factor the recovery codes go too. Refused if the policy requires a factor."""
    await manage_factors.remove_totp(request.user, origin_of(request))
    return FactorRemoved(success=True)


@post(
    f"{_MINE}/recovery-codes",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Renew my recovery codes",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.FreshLoginRequired, errors.NoSecondFactor),
)
async def renew_recovery_codes(
    request: UserRequest, manage_factors: NamedDependency[ManageFactors]
) -> RecoveryCodeList:
    """Return ten new codes, each of which stands in for the second factor once."""
    return RecoveryCodeList(list(await manage_factors.renew_recovery_codes(request.user, origin_of(request))))


@get(
    _OF_USER,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_ADMIN_TAGS,
    summary="List second factors of a user",
    responses=responses(errors.UserNotFound, errors.AdminRequired),
)
async def get_user_factors(
    database: NamedDependency[Database], manage_factors: NamedDependency[ManageFactors], user_id: FromPath[str]
) -> Factors:
    """Return what a user has, and whether they must have one."""
    async with database.transaction() as session:
        found = await administration.get_user(session, user_id)
    return Factors.of(await manage_factors.state(found.user_id))


@delete(
    _OF_USER,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_ADMIN_TAGS,
    summary="Reset the second factors of a user",
    status_code=200,
    responses=responses(
        errors.UserNotFound, errors.FactorNotFound, errors.AdminRequired, errors.FreshLoginRequired, *_BODY
    ),
)
async def reset_user_factors(
    request: AdminRequest,
    manage_factors: NamedDependency[ManageFactors],
    user_id: FromPath[str],
    data: JSONBody[ResetFactorsIn],
) -> FactorsReset:
    """Remove all second factors and recovery codes of a user who has lost them, and end their sessions.

    The reason is kept in the audit log, and the user is told by mail. An administrator needs a recent sign-in.
    """
    caller = request.user
    if caller.user is not None:
        state = request.app.state
        await check_fresh(caller, seconds=state.fresh_login_seconds, has_second_factor=state.has_second_factor)
    ended = await manage_factors.reset(caller, user_id, data.reason, origin_of(request))
    return FactorsReset(success=True, user_id=user_id, ended_sessions=ended)


ROUTES = (
    get_factors,
    begin_totp,
    confirm_totp,
    remove_totp,
    renew_recovery_codes,
    get_user_factors,
    reset_user_factors,
)
