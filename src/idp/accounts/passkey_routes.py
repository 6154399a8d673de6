"""Routes of passkeys: list, register, rename, remove; sign in with one (WebAuthn Level 3)."""

from uuid import UUID

from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from idp import errors
from idp.accounts.passkey_shapes import (
    NewPasskey,
    PasskeyChange,
    PasskeyList,
    PasskeyLogin,
    PasskeyRegistered,
    WebAuthnOptions,
)
from idp.accounts.passkey_sign_in import PasskeySignIn
from idp.accounts.passkeys import AccountPasskeys
from idp.accounts.second_factor_routes import mode_of
from idp.accounts.shapes import SessionOut
from idp.accounts.start_session import SessionMode
from idp.audit.record import origin_of
from idp.ops.address_limits import checks_address
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public, requires_fresh_login, requires_user
from idp.principal.requests import AnyRequest, UserRequest, user_id_of
from idp.settings import Settings
from idp.signing.jwt import Family
from idp.users.factors.passkeys import Passkey

_PATH, _LOGIN = "/api/auth/passkeys", "/api/auth/login/passkey"
_TAGS, _SIGN_IN_TAGS = ["My account"], ["Accounts"]
_CHANGE = (errors.FreshLoginRequired, errors.SupportSession, errors.DatabaseUnavailable)


@get(
    _PATH,
    guards=[requires_user],
    tags=_TAGS,
    summary="List my passkeys",
    cache_control=NO_STORE,
    responses=responses(errors.DatabaseUnavailable),
)
async def list_passkeys(request: UserRequest, account_passkeys: NamedDependency[AccountPasskeys]) -> PasskeyList:
    """Return the passkeys of the user, and what `PublicKeyCredential.signalAllAcceptedCredentials` needs."""
    return await account_passkeys.list(user_id_of(request))


@post(
    f"{_PATH}/options",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Begin to register a passkey",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.TooManyPasskeys, errors.PasswordsRefused, *_CHANGE),
)
async def request_passkey_options(
    request: UserRequest, account_passkeys: NamedDependency[AccountPasskeys]
) -> WebAuthnOptions:
    """Return options for `navigator.credentials.create`, valid for half an hour."""
    return WebAuthnOptions(await account_passkeys.options(request.user))


@post(
    _PATH,
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Register a passkey",
    cache_control=NO_STORE,
    responses=responses(
        errors.PasskeyRejected, errors.PasskeyExists, errors.TooManyPasskeys, errors.PasswordsRefused, *_CHANGE
    ),
)
async def register_passkey(
    request: UserRequest, account_passkeys: NamedDependency[AccountPasskeys], data: JSONBody[NewPasskey]
) -> Response[PasskeyRegistered]:
    """Store what the browser returned for the options. From then on sign-ins with the password ask for it."""
    added = await account_passkeys.register(request, request.user, data, mode=mode_of(request.user))
    started = added.started
    answer = PasskeyRegistered(added.passkey, list(added.recovery_codes), started.answer if started else None)
    return Response(answer, cookies=list(started.cookies) if started else None)


@patch(
    f"{_PATH}/{{passkey_id:uuid}}",
    guards=[requires_user],
    tags=_TAGS,
    summary="Rename a passkey",
    responses=responses(errors.PasskeyNotFound, errors.SupportSession, errors.DatabaseUnavailable),
)
async def rename_passkey(
    request: UserRequest,
    account_passkeys: NamedDependency[AccountPasskeys],
    passkey_id: FromPath[UUID],
    data: JSONBody[PasskeyChange],
) -> Passkey:
    """Change the name by which the user knows it."""
    return await account_passkeys.rename(request.user, passkey_id, data.name, origin_of(request))


@delete(
    f"{_PATH}/{{passkey_id:uuid}}",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Remove a passkey",
    status_code=200,
    responses=responses(errors.PasskeyNotFound, errors.SecondFactorNeeded, *_CHANGE),
)
async def remove_passkey(
    request: UserRequest, account_passkeys: NamedDependency[AccountPasskeys], passkey_id: FromPath[UUID]
) -> Passkey:
    """Remove it from the account; then tell the browser with `signalAllAcceptedCredentials`."""
    return await account_passkeys.remove(request.user, passkey_id, origin_of(request))


@post(
    f"{_LOGIN}/options",
    opt=public(),
    before_request=checks_address("login"),
    tags=_SIGN_IN_TAGS,
    summary="Begin to sign in with a passkey",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.RateLimited, errors.DatabaseUnavailable),
)
async def request_passkey_login_options(passkey_sign_in: NamedDependency[PasskeySignIn]) -> WebAuthnOptions:
    """Return options for `navigator.credentials.get`, valid for half an hour. They are the same for everyone."""
    return WebAuthnOptions(passkey_sign_in.options())


@post(
    _LOGIN,
    opt=public(),
    before_request=checks_address("login"),
    tags=_SIGN_IN_TAGS,
    summary="Sign in with a passkey",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(
        errors.PasskeyUnknown,
        errors.PasskeyRejected,
        errors.PasskeyCloned,
        errors.InvalidCredentials,
        errors.PasswordsRefused,
        errors.CsrfRejected,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def login_with_passkey(
    request: AnyRequest,
    passkey_sign_in: NamedDependency[PasskeySignIn],
    settings: NamedDependency[Settings],
    data: JSONBody[PasskeyLogin],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Start a session with two factors (`acr` 2): the passkey must verify its user."""
    verified_only = settings.accounts.require_email_verification
    started = await passkey_sign_in.log_in(request, data, mode, family=Family.API_AUTH, verified_only=verified_only)
    return started.response()


ROUTES = (
    list_passkeys,
    request_passkey_options,
    register_passkey,
    rename_passkey,
    remove_passkey,
    request_passkey_login_options,
    login_with_passkey,
)
