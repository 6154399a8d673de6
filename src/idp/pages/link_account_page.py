"""The page /link-account: prove that an account is yours before a provider's identity signs in to it (C-11, SEC-16).

By its password, or by a link mailed to its address that must be opened in the same browser: a person who started the
login with a stranger's address cannot have the stranger finish it.
"""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp.audit.record import origin_of
from idp.errors import FederatedLoginInvalid, InvalidCredentials, OneTimeTokenInvalid
from idp.federation.link_proof import LinkProof
from idp.federation.sign_in import FederatedSignIn, WaitingLink
from idp.pages.federation_routes import journey_of
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.mail_link import Page
from idp.pages.rendering import form_page, redirect
from idp.pages.sign_in_steps import Journey, finish
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.signing.jwt import TokenService

_PATH = "/link-account"
LoginId = Annotated[str | None, QueryParameter(name="login", description="The login that waits for the proof.")]
Token = Annotated[str | None, QueryParameter(description="The token from the link in the mail.")]
Step = Annotated[str | None, QueryParameter(description="The result of the submitted form.")]


@get(_PATH, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def link_account_page(
    request: AnyRequest,
    federated_sign_in: NamedDependency[FederatedSignIn],
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    login: LoginId = None,
    token: Token = None,
    step: Step = None,
) -> Page:
    """Ask for the password or offer the link; with a link's token, ask to confirm."""
    login_id, secret = _parts(login, token)
    waiting = await federated_sign_in.waiting(login_id, browser=request.cookies.get(form_tokens.name, ""))
    journey = await journey_of(authorizations, waiting.journey)
    return _page(request, form_tokens, waiting, journey, secret, step=step)


@post(_PATH, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def link_account_form(
    request: AnyRequest,
    federated_sign_in: NamedDependency[FederatedSignIn],
    link_proof: NamedDependency[LinkProof],
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    tokens: NamedDependency[TokenService],
    login: LoginId = None,
    token: Token = None,
) -> Page | Redirect:
    """Check the proof, connect the identity, and sign in."""
    form = await read_form(request, public_url=tokens.issuer)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    login_id, secret = _parts(login, token)
    browser, origin = request.cookies.get(form_tokens.name, ""), origin_of(request)
    waiting = await federated_sign_in.waiting(login_id, browser=browser)
    if "mail" in form:
        await link_proof.mail(waiting, origin)
        return redirect(f"{_PATH}?login={waiting.login_id}&step=sent")
    try:
        if secret is not None:
            proven = await link_proof.by_mail(secret, origin)
        else:
            proven = await link_proof.by_password(waiting, form.get("password", ""), origin)
    except InvalidCredentials as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        journey = await journey_of(authorizations, waiting.journey)
        return _page(request, form_tokens, waiting, journey, None, error="wrong")
    except OneTimeTokenInvalid:
        raise FederatedLoginInvalid from None
    started, federated = await federated_sign_in.link_proven(request, login_id, browser=browser, proven=proven)
    return await finish(authorizations, await journey_of(authorizations, federated), started)


def _page(
    request: AnyRequest,
    form_tokens: FormTokens,
    waiting: WaitingLink,
    journey: Journey,
    secret: str | None,
    *,
    step: str | None = None,
    error: str | None = None,
) -> Page:
    token, cookies = form_tokens.issue(request.cookies)
    return form_page(
        request,
        "link_account.html",
        status=422 if error else 200,
        form=journey.form(cookies),
        query=journey.query,
        waiting=waiting,
        secret=secret,
        sent=step == "sent",
        error=error,
        csrf_token=token,
    )


def _parts(login: str | None, token: str | None) -> tuple[str, str | None]:
    """Return the id of the login, and the secret of a mailed link.

    Raises:
        FederatedLoginInvalid: there is no id.
    """
    text, _, secret = (token or login or "").partition(".")
    try:
        return str(UUID(text)), secret or None
    except ValueError:
        raise FederatedLoginInvalid from None


ROUTES = (link_account_page, link_account_form)
