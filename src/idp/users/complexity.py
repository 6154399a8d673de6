"""Complexity rules of the old service (S4-47), enabled by `passwords.require_complexity`."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

_RUN = 4  # length of forbidden repeats, sequences and keyboard rows
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm")
# Well-known disposable mail services; the list cannot be complete.
DISPOSABLE_DOMAINS = frozenset({
    "10minutemail.com", "10minutemail.net", "20minutemail.com", "33mail.com", "anonbox.net", "burnermail.io",
    "discard.email", "discardmail.com", "dispostable.com", "emailondeck.com", "fakeinbox.com", "fakemail.net",
    "getairmail.com", "getnada.com", "grr.la", "guerrillamail.biz", "guerrillamail.com", "guerrillamail.de",
    "guerrillamail.info", "guerrillamail.net", "guerrillamail.org", "guerrillamailblock.com", "incognitomail.com",
    "inboxkitten.com", "mail-temp.com", "mailcatch.com", "maildrop.cc", "mailexpire.com", "mailinator.com",
    "mailinator.net", "mailinator.org", "mailnesia.com", "mailnull.com", "mailsac.com", "mintemail.com", "moakt.com",
    "mohmal.com", "mytemp.email", "nada.email", "owlymail.com", "sharklasers.com", "spam4.me", "spamgourmet.com",
    "temp-mail.io", "temp-mail.org", "tempail.com", "tempinbox.com", "tempmail.com", "tempmail.net", "tempmailo.com",
    "tempr.email", "throwawaymail.com", "trashmail.com", "trashmail.de", "trashmail.net", "trbvm.com", "wegwerfmail.de",
    "wegwerfmail.net", "wegwerfmail.org", "yopmail.com", "yopmail.fr", "yopmail.net",
})  # fmt: skip


class Violation(NamedTuple):
    """A violated rule of passwords: its name, the sentence about it, and the password's length if that is wrong."""

    rule: str
    text: str
    length: int = 0


def is_disposable(email: str) -> bool:
    """Whether an address belongs to a disposable mail service or its subdomain."""
    labels = email.rpartition("@")[2].casefold().rstrip(".").split(".")
    return any(".".join(labels[place:]) in DISPOSABLE_DOMAINS for place in range(len(labels)))


def complexity_violation(password: str) -> Violation | None:
    """Return the violated rule, None if the password satisfies all."""
    kinds: tuple[Callable[[str], bool], ...] = (
        str.isupper,
        str.islower,
        str.isdigit,
        lambda character: not character.isalnum(),
    )
    if not all(any(kind(character) for character in password) for kind in kinds):
        return Violation("kinds", "The password must contain upper and lower case, a digit and a symbol.")
    for run in _runs(password.casefold()):
        if len(set(run)) == 1:
            return Violation("repeats", f"The password repeats a character {_RUN} times in a row.")
        if _is_sequence(run):
            text = f"The password contains a sequence of {_RUN} characters, such as abcd, 4321 or qwer."
            return Violation("sequence", text)
    return None


def _runs(text: str) -> Iterator[str]:
    return (text[place : place + _RUN] for place in range(len(text) - _RUN + 1))


def _is_sequence(run: str) -> bool:
    if not run.isalnum():
        return False
    steps = {ord(later) - ord(earlier) for earlier, later in pairwise(run)}
    return steps in ({1}, {-1}) or any(run in row or run[::-1] in row for row in _KEYBOARD)
