"""Only the normal form of a path is served (RFC 3986 section 6.2).

A proxy rule that blocks `/metrics` compares text. Equivalent spellings (`//metrics`, `/%6detrics`, `/./metrics`,
`/x/../metrics`, `/metrics/`) would bypass it, so they are 404.
"""

import re

_MAX_NAME = 255  # bytes, as in file systems
# A percent-encoded character that needs no encoding (section 2.3), or an encoded slash.
_NEEDLESS = re.compile(rb"%(2[dDeEfF]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_DOTS = frozenset({".", ".."})


def is_served(path: str, raw_path: bytes) -> bool:
    """Whether this is the normal form of a path.

    Args:
        path: decoded.
        raw_path: as received.
    """
    if b"%" in raw_path and _NEEDLESS.search(raw_path):
        return False
    if not path.isprintable():
        return False  # NUL, line breaks
    first, *names = path.split("/")
    if first or not names:
        return False
    if names == [""]:
        return True
    return all(name and name not in _DOTS and len(name.encode("utf-8", "replace")) <= _MAX_NAME for name in names)
