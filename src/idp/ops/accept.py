"""Whether a request wants a page instead of JSON, by its Accept header (RFC 9110 section 12.5.1)."""

import re

_HTML = re.compile(r"(^|,)\s*text/html\s*(;|,|$)", re.IGNORECASE)
_JSON = re.compile(r"application/(json|[a-z0-9.+-]+\+json)", re.IGNORECASE)
_OLD_JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"  # HttpURLConnection, whatever it is used for


def wants_page(accept: str | None) -> bool:
    """Whether a browser opens this: it names HTML and no JSON. Clients of the API name JSON, `*/*` or nothing.

    Args:
        accept: the header.
    """
    return bool(accept and _HTML.search(accept)) and not _JSON.search(accept or "") and accept != _OLD_JAVA
