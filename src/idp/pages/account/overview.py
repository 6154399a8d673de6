"""The page /account."""

from litestar import Response, get
from litestar.di import NamedDependency

from idp.accounts.delete_account import DeleteAccount
from idp.apikeys import service as api_keys
from idp.db.engine import Database
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.provider import consents
from idp.sessions.listing import list_live
from idp.users import identities


@get("/account", opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def overview(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    delete_account: NamedDependency[DeleteAccount],
) -> Response[str]:
    """Show what the account has, with a way to each page."""
    visitor = await signed_in_pages.open(request)
    user_id = visitor.user.id
    async with database.transaction() as session:
        live = await list_live(session, user_id, current=visitor.principal.credential.session_id)
        _, keys = await api_keys.list_keys(session, user_id, include_revoked=False, limit=1, offset=0)
        counts = {
            "sessions": len(live),
            "keys": keys,
            "identities": len(await identities.list_of(session, user_id)),
            "apps": len(await consents.list_of(session, user_id)),
        }
    return show(
        request,
        "account/overview.html",
        visitor,
        section="account_overview",
        counts=counts,
        delete_after=await delete_account.due(user_id),
    )


ROUTES = (overview,)
