"""Which spelling of a path is served: one (RFC 3986 section 6.2).

A proxy that closes `/metrics` compares text. Whatever reads as the same path in another spelling (`//metrics`,
`/%6detrics`, `/./metrics`, `/x/../metrics`, `/metrics/`) would pass it, so it is no path of ours.
"""

import re

_MAX_NAME = 255  # bytes; what a file system takes
# A percent-encoded character that needs no encoding (section 2.3), or that separates: a slash.
_NEEDLESS = re.compile(rb"%(2[dDeEfF]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_DOTS = frozenset({".", ".."})


def is_served(path: str, raw_path: bytes) -> bool:
    """Whether something can be at this path, in this spelling.

    Args:
        path: decoded.
        raw_path: as it came.
    """
    if b"%" in raw_path and _NEEDLESS.search(raw_path):
        return False
    if not path.isprintable():
        return False  # NUL and line breaks make files and rows choke
    first, *names = path.split("/")
    if first or not names:
        return False
    if names == [""]:
        return True
    return all(name and name not in _DOTS and len(name.encode("utf-8", "replace")) <= _MAX_NAME for name in names)
