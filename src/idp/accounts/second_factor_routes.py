"""Finish a sign-in that waits for the second factor, or make a session stronger (RFC 9470)."""

from typing import Annotated

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.passkey_shapes import BrowserCredential, WebAuthnOptions
from idp.accounts.second_factor import Prove, SecondFactor
from idp.accounts.shapes import SessionOut
from idp.accounts.start_session import Mode
from idp.audit.record import origin_of
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public, requires_user
from idp.principal.model import AuthMethod, Principal
from idp.principal.requests import AnyRequest, UserRequest, user_id_of

_TAGS = ["Second factors"]
_COMMON = (errors.SecondFactorInvalid, errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge,
           errors.RateLimited, errors.DatabaseUnavailable)  # fmt: skip
Code = Annotated[
    str,
    Meta(max_length=64, examples=["492039"], description="Of the authenticator app, or an unused recovery code."),
]


class SecondFactorIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The token of the sign-in that waits, and a code or a passkey's credential."""

    pending_token: Annotated[str, Meta(max_length=128, examples=["q4S8nXx0Zl1pW7uT9vB2cD5eF6gH3iJ-kLmNoPqRsTU"])]
    code: Code | None = None
    credential: BrowserCredential | None = None

    def __repr__(self) -> str:
        return "SecondFactorIn(hidden)"


class PendingIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The token of the sign-in that waits."""

    pending_token: Annotated[str, Meta(max_length=128, examples=["q4S8nXx0Zl1pW7uT9vB2cD5eF6gH3iJ-kLmNoPqRsTU"])]

    def __repr__(self) -> str:
        return "PendingIn(hidden)"


class StepUpIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A code, or a passkey's credential."""

    code: Code | None = None
    credential: BrowserCredential | None = None

    def __repr__(self) -> str:
        return "StepUpIn(hidden)"


@post(
    "/api/auth/second-factor",
    opt=public(),
    tags=_TAGS,
    summary="Finish a sign-in with the second factor",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.SignInExpired, *_COMMON),
)
async def prove_second_factor(
    request: AnyRequest, second_factor: NamedDependency[SecondFactor], data: JSONBody[SecondFactorIn]
) -> Response[SessionOut]:
    """Start the session of a sign-in that was answered with 403 `second_factor_required`. Its `mode` stays.

    The token is valid for ten minutes, one session and five wrong codes.
    """
    started = await second_factor.complete(request, data.pending_token, _prove(request, second_factor, data))
    return started.response()


@post(
    "/api/auth/step-up",
    guards=[requires_user],
    tags=_TAGS,
    summary="Make the session stronger with the second factor",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.FreshLoginRequired, errors.NoSecondFactor, *_COMMON),
)
async def step_up(
    request: UserRequest, second_factor: NamedDependency[SecondFactor], data: JSONBody[StepUpIn]
) -> Response[SessionOut]:
    """Return a new session with `acr` "2", which replaces that of the request and goes on like it: with a refresh
    token or a cookie. The sign-in must be recent.
    """
    prove = _prove(request, second_factor, data)
    started = await second_factor.step_up(request, request.user, prove, mode=mode_of(request.user))
    return started.response()


@post(
    "/api/auth/second-factor/passkey-options",
    opt=public(),
    tags=_TAGS,
    summary="Begin to prove the second factor with a passkey",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.SignInExpired, errors.ValidationFailed, errors.RateLimited, errors.DatabaseUnavailable),
)
async def request_second_factor_options(
    request: AnyRequest, second_factor: NamedDependency[SecondFactor], data: JSONBody[PendingIn]
) -> WebAuthnOptions:
    """Return options for `navigator.credentials.get` with the passkeys of the user whose sign-in waits."""
    waiting = await second_factor.find_within_limits(request, data.pending_token)
    return WebAuthnOptions(await second_factor.passkey_options(waiting.user_id, verifies_user=False))


@post(
    "/api/auth/step-up/passkey-options",
    guards=[requires_user],
    tags=_TAGS,
    summary="Begin to make the session stronger with a passkey",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.DatabaseUnavailable),
)
async def request_step_up_options(
    request: UserRequest, second_factor: NamedDependency[SecondFactor]
) -> WebAuthnOptions:
    """Return options for `navigator.credentials.get` with the passkeys of the user."""
    return WebAuthnOptions(await second_factor.passkey_options(user_id_of(request), verifies_user=True))


def _prove(request: AnyRequest, second_factor: SecondFactor, data: SecondFactorIn | StepUpIn) -> Prove:
    """Return what checks the factor that a request has.

    Raises:
        ValidationFailed: it has none, or two.
    """
    if (data.code is None) == (data.credential is None):
        raise invalid(["body"], "Send either `code` or `credential`.")
    if data.credential is not None:
        steps_up = isinstance(data, StepUpIn)
        return second_factor.by_passkey(data.credential, origin_of(request), verifies_user=steps_up)
    return second_factor.by_code(data.code or "")


def mode_of(principal: Principal) -> Mode:
    """Return how the session of a caller goes on."""
    return "cookie" if principal.credential.method == AuthMethod.SESSION_COOKIE else "token"


ROUTES = (prove_second_factor, step_up, request_second_factor_options, request_step_up_options)
