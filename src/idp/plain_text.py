"""Allowed characters in text from clients that others read.

Control characters move a terminal's cursor, format characters reorder or hide text, separators break lines (Unicode
categories Cc, Cf, Zl and Zp). Only the two joiners are allowed, because Persian and emoji need them.
"""

import re

# The ranges of those categories in Unicode 16, for a character class. Written as `\uXXXX`, which is valid in Python and
# ECMAScript (used by OpenAPI); beyond U+FFFF they have no common escape.
UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
# A name: one line that begins with a visible character. `$` alone also matches before a final line break.
LINE = rf"^[^\s\u200c\u200d{UNSEEN}][^{UNSEEN}]*(?!\n)$"
# The same, but may be empty or begin with a space.
REMARK = rf"^[^{UNSEEN}]*(?!\n)$"
_UNSEEN = re.compile(f"[{UNSEEN}]")


def unseen_character(text: str) -> str | None:
    """Return the first disallowed character as U+XXXX, None if there is none."""
    match = None if text.isascii() and text.isprintable() else _UNSEEN.search(text)
    return f"U+{ord(match[0]):04X}" if match else None


def without_unseen(text: str) -> str:
    """Return the text without disallowed characters."""
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub("", text)
