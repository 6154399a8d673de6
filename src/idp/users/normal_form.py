"""Unicode's normal form C, of text that anybody may send.

Normalising takes quadratic time where combining marks follow each other without end: 100,000 of them stop the process
for a minute. No language has more than a few, and UAX #15 section 13 (Stream-Safe Text) calls 30 the most there are.
"""

import unicodedata

_MOST_MARKS = 30
# Of class 0 themselves, and made of nothing but marks: Unicode has no others, and adds none (its stability policy).
_MADE_OF_MARKS = frozenset("\u0f73\u0f75\u0f81")
_SHORT = 256  # characters; what is shorter takes no time anyway


def normal_form(text: str) -> str:
    """Return the text in NFC; as it is, where no language could have written it."""
    if text.isascii() or (len(text) > _SHORT and _has_endless_marks(text)):
        return text
    return unicodedata.normalize("NFC", text)


def _has_endless_marks(text: str) -> bool:
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) or character in _MADE_OF_MARKS else 0
        if run > _MOST_MARKS:
            return True
    return False
