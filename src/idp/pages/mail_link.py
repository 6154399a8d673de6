"""A page that a link in a mail leads to: it asks for a link, shows what one is for, or says that one is dead."""

from typing import Any, Protocol
from urllib.parse import urlencode

from litestar import Response
from litestar.response import Redirect

from idp.audit.record import Origin, origin_of
from idp.errors import IdpError, OneTimeTokenInvalid
from idp.pages.rendering import form_page, redirect
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.users.one_time_tokens import OneTimeToken, Purpose

Page = Response[str]
DONE, SENT = "done", "sent"
_AFTER_A_FORM = frozenset({DONE, SENT})


class Journey(Protocol):
    """What a link is good for."""

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return what a link proves; raises OneTimeTokenInvalid."""


class MailLinkPage:
    """One template in its states `ask`, `sent`, `form`, `done` and `dead`, for one request.

    Args:
        path: of the page, such as /verify-email; `verify_email.html` is its template.
        journey: checks its links.
        settings: for what the template shows of them.
        request: the request.
    """

    def __init__(self, path: str, journey: Journey, settings: Settings, request: AnyRequest) -> None:
        self._path = path
        self._journey = journey
        self._settings = settings
        self._request = request

    async def open(self, token: str | None, step: str | None) -> Page:
        """Return what a link leads to, without using it up; without a token, what a form has just done.

        Raises:
            RateLimited: too many bad links came from this address.
        """
        if token is None:
            return self._state(200, step if step in _AFTER_A_FORM else "ask", error=None)
        return await self.form(token, just_verified=step == "verified")

    async def form(self, token: str, *, error: IdpError | None = None, just_verified: bool = False) -> Page:
        """Return the form that a link is for.

        Args:
            token: of the link, for the hidden field.
            error: why the previous form was refused.
            just_verified: whether the user has just verified their address.
        """
        try:
            found = await self._journey.check_link(token, origin_of(self._request))
        except OneTimeTokenInvalid as dead:
            return self.dead(dead)
        self._record_error(error)
        # Not 401, which names a scheme that a browser would ask the password with (RFC 9110 section 11.6.1).
        return self._state(
            422 if error else 200,
            "form",
            error=error.detail if error else None,
            token=token,
            email=found.email,
            is_first=just_verified or found.purpose is Purpose.INVITE,
            just_verified=just_verified,
        )

    def dead(self, error: OneTimeTokenInvalid) -> Page:
        """Say that a link does not work, or no more."""
        self._record_error(error)
        return self._state(error.status, "dead", error=None)

    def redirect(self, step: str, *, background: Any = None) -> Redirect:
        """Answer a form with this page, which says what the form has done."""
        return redirect(f"{self._path}?{urlencode({'step': step})}", background=background)

    def _record_error(self, error: IdpError | None) -> None:
        """Let the log name the refusal that a page shows in its own words."""
        if error is not None:
            self._request.scope["error"] = error  # type: ignore[typeddict-unknown-key]

    def _state(self, status: int, state: str, **values: object) -> Page:
        template = f"{self._path[1:].replace('-', '_')}.html"
        shared = {"front_end": self._settings.mail.frontend_url, "policy": self._settings.passwords}
        return form_page(template, status=status, headers=None, state=state, **shared, **values)
