"""The session of the browser that opens a page: who is signed in there, or nobody."""

from idp.authn.credential import Presented, cookies_only
from idp.authn.introspection import Introspector
from idp.principal.model import AuthMethod, Principal
from idp.principal.requests import AnyRequest


async def find_browser(request: AnyRequest, introspector: Introspector, *, confirm: bool = False) -> Principal | None:
    """Return who is signed in by the session cookie; None without one, or if the session has ended.

    Only the cookie counts: pages are opened by browsers, which send no other credential on their own.

    Args:
        request: of a page.
        introspector: decides about the cookie.
        confirm: let the database confirm a verdict from Valkey, for changes and management (decision 0025).

    Raises:
        DatabaseUnavailable: the session cannot be looked up.
    """
    cookies = cookies_only(Presented(headers={"cookie": request.headers.get("cookie", "")})).cookies
    presented = Presented(cookies=cookies)
    client = request.client.host if request.client else None
    verdict = await introspector.introspect(presented, client=client, confirm=confirm)
    if verdict.unknown and verdict.error is not None:
        raise verdict.error
    principal = verdict.principal
    if verdict.error is not None or principal is None or principal.user is None:
        return None
    return principal if principal.credential.method == AuthMethod.SESSION_COOKIE else None
