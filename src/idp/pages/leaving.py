"""Leave a form, of ours or of a provider, for a page of another site.

Chromium applies `form-action` to all redirects after a form, and where a provider's redirects lead is not known. So the
form is answered with a page that goes on by itself: that is another navigation.
"""

from collections.abc import Sequence

from litestar import Response
from litestar.datastructures import Cookie

from idp.pages.rendering import form_page
from idp.principal.requests import AnyRequest


def leave_form(request: AnyRequest, url: str, *, label: str, cookies: Sequence[Cookie] = ()) -> Response[str]:
    """Return the page that opens a URL by itself, without JavaScript.

    Args:
        request: the POST of a form, or what a provider's form led to.
        url: where to go.
        label: of the provider or app.
        cookies: to set.
    """
    page = form_page(request, "leaving.html", headers={"Refresh": f"0;url={url}"}, url=url, label=label)
    for cookie in cookies:
        page.set_cookie(cookie)
    return page
