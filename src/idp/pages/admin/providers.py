"""The page /admin/providers: the providers that people may sign in with, from the settings, and a test of each."""

from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from idp.federation.login_state import FederatedJourney
from idp.federation.sign_in import FederatedSignIn
from idp.pages.admin.routes import Page, admin_page
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.sessions.form_tokens import FormTokens

_PATH = "/admin/providers"


@admin_page(_PATH)
async def providers(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    federated_sign_in: NamedDependency[FederatedSignIn],
) -> Page:
    """List providers with their rules."""
    visitor = await signed_in_pages.open(request, admin=True)
    found = list(federated_sign_in.providers)
    return show(request, "admin/providers.html", visitor, section="admin_providers", providers=found)


@admin_page(f"{_PATH}/{{provider:str}}/test")
async def test_provider(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    federated_sign_in: NamedDependency[FederatedSignIn],
    form_tokens: NamedDependency[FormTokens],
    provider: FromPath[str],
) -> Redirect:
    """Send the browser to a provider; its answer is shown, and signs nobody in."""
    visitor = await signed_in_pages.open(request, admin=True)
    chosen = federated_sign_in.providers.get(provider)
    browser, cookies = form_tokens.browser(request.cookies)
    journey = FederatedJourney(
        "test", user_id=visitor.user.id, session_id=visitor.principal.credential.session_id, fresh=True
    )
    url = await federated_sign_in.begin(chosen, journey, browser=browser)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Redirect(url, status_code=303, headers=headers, cookies=cookies)


ROUTES = (providers, test_provider)
