"""An administrator's browser during support: the session of support replaces their own, which comes back afterwards.

Their own cookie is kept in another one, which no script reads. It comes back only if the database says that it belongs
to a live session of the administrator who acts in the session of support that the browser has (decision 0058).
"""

from typing import Any
from urllib.parse import quote

from litestar import Response, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect
from msgspec import structs

from idp.accounts.act_for_support import ActForSupport, SupportSession
from idp.audit.record import Origin, origin_of
from idp.authn.credential import Presented
from idp.authn.introspection import Introspector
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.rendering import redirect
from idp.principal.guards import accepts_support, decided_by_handler
from idp.principal.model import AuthMethod
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import CSRF_HEADER, SessionCookies
from idp.signing.jwt import TokenService

OF_SUPPORT: dict[str, Any] = decided_by_handler("session of support, by session cookie") | accepts_support() | FORM


def enter(request: AnyRequest, cookies: SessionCookies, started: SupportSession) -> list[Cookie]:
    """Return the cookies of a session of support, and the one that keeps the administrator's own."""
    assert started.cookie is not None
    own = request.cookies.get(cookies.name, "")
    return [
        *cookies.set(started.cookie, str(started.session_id), seconds=None),
        cookies.kept(own),
    ]


@post("/support/stop", opt=OF_SUPPORT, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def stop_support(
    request: AnyRequest,
    act_for_support: NamedDependency[ActForSupport],
    introspector: NamedDependency[Introspector],
    session_cookies: NamedDependency[SessionCookies],
    tokens: NamedDependency[TokenService],
) -> Response[str] | Redirect:
    """End the session of support, live or expired, and give the administrator their own session back."""
    form = await read_form(request, public_url=tokens.issuer)
    found = await act_for_support.find(request.cookies.get(session_cookies.name, ""))
    if found is None:
        return redirect("/account")
    headers = {**request.headers, CSRF_HEADER: form.get("csrf_token", "")}
    session_cookies.check_csrf(headers, str(found.session_id))
    kept = request.cookies.get(session_cookies.kept_name, "")
    own = await _session_of(introspector, session_cookies, kept, found.actor_id)
    await act_for_support.stop(found.session_id, _by(request, found.actor_id))
    if own is None:
        return redirect("/login", cookies=session_cookies.clear())
    cookies = [*session_cookies.set(kept, own, seconds=None), session_cookies.kept(None)]
    return redirect(f"/admin/users/{quote(found.user_id)}?done=support_stopped", cookies=cookies)


async def _session_of(introspector: Introspector, cookies: SessionCookies, kept: str, actor_id: str) -> str | None:
    """Return the session of a kept cookie if it is live, and the administrator's; None for any other cookie."""
    if not kept:
        return None
    verdict = await introspector.introspect(Presented(cookies={cookies.name: kept}))
    principal = verdict.principal
    if principal is None or principal.user is None or principal.user.id != actor_id:
        return None
    credential = principal.credential
    is_own = credential.method == AuthMethod.SESSION_COOKIE and credential.impersonator is None
    return credential.session_id if is_own else None


def _by(request: AnyRequest, actor_id: str) -> Origin:
    return structs.replace(origin_of(request), actor=f"user:{actor_id}", impersonator=None)


ROUTES = (stop_support,)
