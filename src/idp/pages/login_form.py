"""The page /login, as it is shown: for the password, for passkeys, and for other providers."""

import msgspec
from litestar import Response
from msgspec import Struct

from idp.accounts.passkey_sign_in import PasskeySignIn
from idp.federation.providers import Providers
from idp.pages.provider_buttons import buttons
from idp.pages.rendering import form_page
from idp.pages.sign_in_steps import Journey
from idp.principal.requests import AnyRequest
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings


class LoginForm(Struct, frozen=True):
    """What the form shows.

    Attributes:
        email: as entered.
        remember: whether to stay signed in.
        error: the text `login.ERROR`; None without one.
        unknown_passkey: what the browser should forget, None for nothing.
    """

    email: str = ""
    remember: bool = False
    error: str | None = None
    unknown_passkey: Struct | None = None


def show_login(
    request: AnyRequest,
    journey: Journey,
    form_tokens: FormTokens,
    settings: Settings,
    providers: Providers,
    passkey_sign_in: PasskeySignIn,
    form: LoginForm,
) -> Response[str]:
    """Return the page; 422 with an error, because 401 would make a browser ask (RFC 9110 section 11.6.1)."""
    token, cookies = form_tokens.issue(request.cookies)
    unknown = form.unknown_passkey
    return form_page(
        request,
        "login.html",
        status=422 if form.error else 200,
        form=journey.form(cookies=cookies),
        client=journey.client,
        query=journey.query,
        csrf_token=token,
        email=form.email,
        remember=form.remember,
        error=form.error,
        verified_only=settings.accounts.require_email_verification,
        providers=buttons(providers, journey),
        domains_bound=providers.bind_domains,
        demo_users=request.app.state.get("demo_users", ()),
        passkey_options=msgspec.json.encode(passkey_sign_in.options()).decode(),
        unknown_passkey=msgspec.json.encode(unknown).decode() if unknown is not None else None,
    )
