"""What a provider said in a test: the page after the callback. It signs nobody in and changes nothing."""

from idp.db.engine import Database
from idp.errors import FederatedLoginInvalid
from idp.federation.providers import Provider
from idp.federation.sign_in import Tested
from idp.pages.admin.routes import Page
from idp.pages.admin.unverified_claims import claims_of
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.users import identities


async def show_tested(
    request: AnyRequest, signed_in_pages: SignedInPages, database: Database, provider: Provider, tested: Tested
) -> Page:
    """Show the administrator who began the test what the provider said, and what its rules would grant.

    Raises:
        FederatedLoginInvalid: another user is signed in in this browser.
        SignInNeeded, AdminRequired: as `SignedInPages.open`.
    """
    visitor = await signed_in_pages.open(request, admin=True)
    if tested.journey.user_id != visitor.user.id:
        raise FederatedLoginInvalid
    login = tested.login
    async with database.transaction() as session:
        account = await identities.find_user(session, login.identity.provider, login.identity.subject)
    return show(
        request,
        "admin/tested_provider.html",
        visitor,
        section="admin_providers",
        provider=provider,
        login=login,
        claims=claims_of(login.id_token or ""),
        grants=sorted(login.evaluation.granted),
        account=account,
    )
