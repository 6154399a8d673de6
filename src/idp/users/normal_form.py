"""Unicode normal form C for untrusted text.

Normalising takes quadratic time for long runs of combining marks: 100,000 of them block the process for a minute. UAX
#15 section 13 (Stream-Safe Text) allows at most 30.
"""

import unicodedata

_MAX_MARKS = 30
_SHORT = 256  # characters; shorter text is always fast
# Tibetan vowel signs of combining class 0 that decompose into two marks (complete list).
_TWO_MARKS = frozenset("\u0f73\u0f75\u0f81")


def normal_form(text: str) -> str:
    """Return the text in NFC; unchanged if it has too many combining marks."""
    if text.isascii() or (len(text) > _SHORT and _has_endless_marks(text)):
        return text
    return unicodedata.normalize("NFC", text)


def _has_endless_marks(text: str) -> bool:
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) or character in _TWO_MARKS else 0
        if run > _MAX_MARKS:
            return True
    return False
