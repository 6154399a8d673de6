"""The page of a mail link: it requests a link, shows the link's form, or says that the link is invalid."""

from typing import Any, Protocol
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response
from litestar.response import Redirect

from idp.audit.record import Origin, origin_of
from idp.errors import IdpError, OneTimeTokenInvalid
from idp.pages.rendering import form_page, redirect
from idp.pages.waiting_requests import WaitingRequests
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.users.one_time_tokens import OneTimeToken, Purpose

Page = Response[str]
DONE, SENT = "done", "sent"
_AFTER_A_FORM = frozenset({DONE, SENT})


class LinkFlow(Protocol):
    """The flow that a link belongs to."""

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return the link's token record; raises OneTimeTokenInvalid."""


class MailLinkPage:
    """One template in its states `ask`, `sent`, `form`, `done` and `dead`, for one request.

    Args:
        path: of the page, such as /verify-email; `verify_email.html` is its template.
        flow: checks its links.
        settings: shown by the template.
        request: the request. Its parameter `request`, a sign-in that waits meanwhile, is kept in links and forms.
    """

    def __init__(self, path: str, flow: LinkFlow, settings: Settings, request: AnyRequest) -> None:
        self._path = path
        self._flow = flow
        self._settings = settings
        self._request = request
        self._kept = _kept(request.query_params.get("request"))

    async def open(self, token: str | None, step: str | None) -> Page:
        """Return the page of a link without consuming it; without a token, the result of a form.

        Raises:
            RateLimited: too many invalid links from this address.
        """
        if token is None:
            return self._state(200, step if step in _AFTER_A_FORM else "ask", error=None)
        return await self.form(token, just_verified=step == "verified")

    async def form(self, token: str, *, error: IdpError | None = None, just_verified: bool = False) -> Page:
        """Return the form of a link.

        Args:
            token: of the link, for the hidden field.
            error: why the previous form was refused.
            just_verified: whether the user has just verified their address.
        """
        try:
            link = await self._flow.check_link(token, origin_of(self._request))
        except OneTimeTokenInvalid as dead:
            return self.dead(dead)
        self._record_error(error)
        # Not 401: it requires a WWW-Authenticate scheme, for which a browser would prompt (RFC 9110 section 11.6.1).
        return self._state(
            422 if error else 200,
            "form",
            error=error,
            token=token,
            email=link.email,
            is_first=just_verified or link.purpose is Purpose.INVITE,
            just_verified=just_verified,
        )

    def dead(self, error: OneTimeTokenInvalid) -> Page:
        """Return the page of an invalid or used link."""
        self._record_error(error)
        return self._state(error.status, "dead", error=None)

    def redirect(self, step: str, *, background: Any = None) -> Redirect:
        """Redirect a form to this page, which shows its result."""
        waiting: WaitingRequests = self._request.app.state.waiting_requests
        cookies = [waiting.remember(self._kept["request"])] if self._kept else []
        path = f"{self._path}?{urlencode({'step': step, **self._kept})}"
        return redirect(path, background=background, cookies=cookies)

    def _record_error(self, error: IdpError | None) -> None:
        """Log the error code that the page shows as text."""
        if error is not None:
            self._request.scope["error"] = error  # type: ignore[typeddict-unknown-key]

    def _state(self, status: int, state: str, **values: object) -> Page:
        template = f"{self._path[1:].replace('-', '_')}.html"
        values |= {"front_end": self._settings.mail.frontend_url, "policy": self._settings.passwords}
        values["query"] = f"?{urlencode(self._kept)}" if self._kept else ""
        values["sign_in"] = values["query"] or "?resume=1"
        return form_page(self._request, template, status=status, headers=None, form=None, state=state, **values)


def _kept(request_id: str | None) -> dict[str, str]:
    """Return the parameter of a sign-in that waits; /login checks whether it still does."""
    try:
        return {"request": str(UUID(request_id))} if request_id else {}
    except ValueError:
        return {}
