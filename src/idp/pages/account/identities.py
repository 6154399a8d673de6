"""The page /account/identities: sign-ins at other providers that open the account."""

from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.accounts.foreign_users import ForeignUsers
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdentityNotFound, LastWayIn, ProviderNotFound
from idp.federation import own_identities
from idp.federation.own_identities import link_journey
from idp.federation.presets import as_issuer
from idp.federation.sign_in import FederatedSignIn
from idp.pages.forms import FORM
from idp.pages.leaving import leave_form
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.sessions.form_tokens import FormTokens
from idp.users import credentials, identities

_PATH = "/account/identities"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def identities_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    federated_sign_in: NamedDependency[FederatedSignIn],
) -> Response[str]:
    """Show the linked identities, and the providers to link another one of."""
    visitor = await signed_in_pages.open(request)
    providers = list(federated_sign_in.providers)
    async with database.transaction() as session:
        linked = await identities.list_of(session, visitor.user.id)
        holder = await credentials.find_by_id(session, visitor.user.id)
        rows = [(each.id, each.provider, each.subject, each.created_at) for each in linked]
    labels = {as_issuer(each.settings).issuer: each.label for each in providers}
    is_only = len(rows) == 1 and (holder is None or holder.password_hash is None)
    return show(
        request,
        "account/identities.html",
        visitor,
        section="account_identities",
        linked=[(id_, labels.get(issuer, issuer), subject, at) for id_, issuer, subject, at in rows],
        providers=[each for each in providers if not each.settings.hidden],
        is_only=is_only,
    )


@post(
    f"{_PATH}/link", opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS
)
async def link_identity_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    federated_sign_in: NamedDependency[FederatedSignIn],
    form_tokens: NamedDependency[FormTokens],
) -> Response[str] | Redirect:
    """Send the browser to a provider, whose answer links the identity."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    try:
        chosen = federated_sign_in.providers.get(form.get("provider", ""))
    except ProviderNotFound:
        return redirect(_PATH)
    browser, cookies = form_tokens.browser(request.cookies)
    journey = link_journey(visitor.principal, return_to=f"{_PATH}?done=linked")
    url = await federated_sign_in.begin(chosen, journey, browser=browser)
    return leave_form(request, url, label=chosen.label, cookies=cookies)


@post(
    f"{_PATH}/unlink",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def unlink_identity_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    foreign_users: NamedDependency[ForeignUsers],
) -> Redirect:
    """Unlink an identity; never the last way to sign in."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    try:
        identity_id = UUID(form.get("identity_id", ""))
        await own_identities.unlink(database, foreign_users, visitor.principal, origin_of(request), identity_id)
    except LastWayIn:
        return redirect(f"{_PATH}?done=last_way_in")
    except (ValueError, IdentityNotFound):
        return redirect(_PATH)
    return redirect(f"{_PATH}?done=unlinked")


ROUTES = (identities_page, link_identity_form, unlink_identity_form)
