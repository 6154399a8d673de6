"""What the pages of a sign-in share: the authorization request that they belong to, and where they lead."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from litestar.datastructures import Cookie
from litestar.params import QueryParameter
from litestar.response import Redirect
from msgspec import Struct

from idp.accounts.start_session import Begun, StartedSession
from idp.errors import AuthorizationRequestExpired
from idp.pages.authorize_routes import CONTINUE
from idp.pages.rendering import FormOf, redirect
from idp.pages.return_path import safe_path
from idp.provider.authorization import Authorization, PendingRequest

SECOND_FACTOR, SET_UP = "/second-factor", "/second-factor/set-up"
RequestId = Annotated[
    str | None, QueryParameter(name="request", description="The saved authorization request that the page belongs to.")
]
ReturnTo = Annotated[str | None, QueryParameter(description="A path of this service to open afterwards.")]


class Journey(Struct, frozen=True):
    """A sign-in: for an authorization request, or for a page of this service.

    Attributes:
        pending: the saved request, None without one.
        return_to: the path to open afterwards, None for the home page.
    """

    pending: PendingRequest | None = None
    return_to: str | None = None

    @property
    def client(self) -> str | None:
        """The name of the app that the user comes from."""
        return self.pending.client_name if self.pending else None

    @property
    def query(self) -> str:
        """What links and forms of a page keep, with the question mark; empty if there is nothing to keep."""
        if self.pending is not None:
            return "?" + urlencode({"request": str(self.pending.id)})
        return "?" + urlencode({"return_to": self.return_to}) if self.return_to else ""

    @property
    def ui_locales(self) -> str | None:
        """The languages that the app asks for."""
        return self.pending.ui_locales if self.pending else None

    def form(self, cookies: Sequence[Cookie] = ()) -> FormOf:
        """Return what belongs to a form of this journey, with cookies to set."""
        return FormOf(self.ui_locales, self.pending.redirect_uri if self.pending else None, cookies)

    def onward(self) -> str:
        """Return the path of the next step."""
        return f"{CONTINUE}{self.query}" if self.pending is not None else self.return_to or "/"


async def find_journey(authorizations: Authorization, request_id: str | None, return_to: str | None = None) -> Journey:
    """Return the journey that a page belongs to.

    Args:
        authorizations: has the saved requests.
        request_id: of the parameter `request`.
        return_to: of the parameter `return_to`; anything but a path of this service is ignored (SEC-42).

    Raises:
        AuthorizationRequestExpired: the request is unknown, expired or finished.
    """
    if request_id is not None:
        return Journey(await authorizations.pending(request_id))
    return Journey(return_to=safe_path(return_to))


async def resume_journey(authorizations: Authorization, waiting_id: str | None) -> Journey:
    """Return the journey that waited while its user opened a mail; one for the home page if it has ended."""
    try:
        return await find_journey(authorizations, waiting_id)
    except AuthorizationRequestExpired:
        return Journey()


async def finish(authorizations: Authorization, journey: Journey, begun: Begun) -> Redirect:
    """Set the cookies of a new session, and lead to the next step (SEC-70: the session is a new one).

    A sign-in that waits goes on at the page of the second factor. Who may still sign in without one is told until when;
    who asked to delete the account is asked whether to keep it.
    """
    if not isinstance(begun, StartedSession):
        return redirect(f"{SET_UP if begun.enrols else SECOND_FACTOR}{journey.query}", cookies=begun.cookies)
    if journey.pending is not None:
        await authorizations.signed_in(str(journey.pending.id), begun.session_id)
    onward = f"{SET_UP}{journey.query}" if begun.second_factor_due is not None else journey.onward()
    if begun.delete_after is not None:
        onward = f"/account/keep?{urlencode({'return_to': onward})}"
    return redirect(onward, cookies=begun.cookies)
