"""The form of /login for passkeys: the browser's response comes as the field `credential`."""

from typing import Any

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.response import Redirect
from msgspec import Struct

from idp.accounts.passkey_shapes import PasskeyLogin
from idp.accounts.passkey_sign_in import PasskeySignIn
from idp.errors import InvalidCredentials, PasskeyCloned, PasskeyRejected, PasskeyUnknown
from idp.federation.sign_in import FederatedSignIn
from idp.ops.address_limits import checks_address
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.login_form import LoginForm, show_login
from idp.pages.sign_in_steps import RequestId, ReturnTo, find_journey, finish
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import Family, TokenService

_ERRORS: dict[type[Exception], str] = {
    PasskeyUnknown: "passkey_unknown",
    PasskeyCloned: "passkey_cloned",
    InvalidCredentials: "passkey_refused",
    PasskeyRejected: "passkey_refused",
}


class UnknownPasskey(Struct, frozen=True, rename={"rp_id": "rpId", "credential_id": "credentialId"}):
    """A passkey that the browser should forget (`PublicKeyCredential.signalUnknownCredential`)."""

    rp_id: str
    credential_id: str


@post(
    "/login/passkey",
    opt=public() | FORM,
    before_request=checks_address("login"),
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def passkey_form(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    passkey_sign_in: NamedDependency[PasskeySignIn],
    federated_sign_in: NamedDependency[FederatedSignIn],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Response[str] | Redirect:
    """Sign in with a passkey and go on to the next step; a refused one is shown on the page /login."""
    form = await read_form(request, public_url=tokens.issuer)
    journey = await find_journey(authorizations, request_id, return_to)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    credential = parse_credential(form.get("credential", ""))
    data = PasskeyLogin(credential=credential, remember_me=bool(form.get("remember")))
    verified_only = settings.accounts.require_email_verification
    try:
        started = await passkey_sign_in.log_in(
            request, data, "cookie", family=Family.API_AUTH, verified_only=verified_only
        )
        return await finish(authorizations, journey, started)
    except (PasskeyUnknown, PasskeyCloned, PasskeyRejected, InvalidCredentials) as refused:
        request.scope["error"] = refused  # type: ignore[typeddict-unknown-key]
        unknown = None
        if isinstance(refused, PasskeyUnknown):
            unknown = UnknownPasskey(passkey_sign_in.party_id, str(credential.get("id", "")))
        shown = LoginForm(error=_ERRORS[type(refused)], unknown_passkey=unknown)
        return show_login(request, journey, form_tokens, settings, federated_sign_in.providers, passkey_sign_in, shown)


def parse_credential(text: str) -> dict[str, Any]:
    """Return the JSON of the field `credential`; empty for anything but an object, which is refused later."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):  # nested too deeply
        return {}


ROUTES = (passkey_form,)
