"""Where a page may send the browser afterwards: only to paths of this service (SEC-42), so that no link to a page
sends people elsewhere."""

import re
from urllib.parse import unquote

_MAX_LENGTH = 2000
_MAX_DECODINGS = 3
# One slash at the start, then printable ASCII without what a browser reads as another host: // and \ and @.
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")
_REFUSED = ("//", "\\", "@", "/../", "/./")


def safe_path(text: str | None) -> str | None:
    """Return a path of this service as it is; None for anything else, encoded or not.

    Args:
        text: from a parameter, such as `return_to`.
    """
    if text is None or len(text) > _MAX_LENGTH:
        return None
    decoded = text
    for _ in range(_MAX_DECODINGS):
        if not _PATH.match(decoded) or any(each in decoded.partition("?")[0] for each in _REFUSED) or "\\" in decoded:
            return None
        if decoded == (decoded := unquote(decoded)):
            return text
    return None
