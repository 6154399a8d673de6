"""E-mail addresses: syntax, the form we store, and the key by which two spellings are one person (C-13).

Two mailboxes must never be one account: whoever reads the one could take over the other. So spellings are the same only
where they differ in case or composition, and never across scripts (`docs/decisions/0030-unique-mailbox-keys.md`).
"""

import hashlib
import re
import unicodedata

import idna
from email_validator import EmailNotValidError, EmailSyntaxError, validate_email

MAX_LENGTH = 254  # RFC 5321 section 4.5.3.1.3
_LONGEST_KEYED = 1000  # characters; what is longer is nobody's address, and normalising it could take seconds
_LONGEST_DOMAIN = 512  # characters; IDNA knows no longer name, composed or not, and would take long to say so
# The only characters beyond ASCII that Unicode's canonical forms turn into ASCII: the Greek question mark, the Greek
# varia and the Kelvin sign (Unicode never adds another one to them).
_BECOMES_ASCII = re.compile("([\u037e\u1fef\u212a])")


def parse_email(text: str) -> str:
    """Return the address as we store it: NFC, the domain in lower case.

    Args:
        text: what was typed.

    Raises:
        ValueError: it is no address; the text says what is wrong with it.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    if found := _BECOMES_ASCII.search(text.rpartition("@")[0]):
        looks = unicodedata.normalize("NFC", found[1])
        raise ValueError(f"U+{ord(found[1]):04X} before the @ looks like {looks}; type {looks} if that is meant")
    try:
        return validate_email(text, check_deliverability=False, globally_deliverable=False).normalized
    except (EmailSyntaxError, EmailNotValidError) as error:
        raise ValueError(str(error)) from None


def email_key(email: str) -> str:
    """Return the key under which an address is unique: NFC, in lower case, the domain in IDNA A-labels.

    Takes any text, so that looking up nonsense finds nobody instead of failing.
    """
    if len(email) > _LONGEST_KEYED:
        return f"too long:{hashlib.sha256(email.encode('utf-8', 'surrogatepass')).hexdigest()}"
    local, _, domain = email.strip().replace("\x00", "\ufffd").rpartition("@")
    try:
        ascii_domain = _folded(domain) if len(domain) > _LONGEST_DOMAIN else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        ascii_domain = _folded(domain)
    return f"{_folded(local)}@{ascii_domain}"


def _folded(text: str) -> str:
    """Return NFC in lower case, where that keeps what is ASCII apart from what only looks like it."""
    if text.isascii():
        return text.lower()
    pieces = _BECOMES_ASCII.split(text)
    normal = "".join(each if _BECOMES_ASCII.match(each) else unicodedata.normalize("NFC", each) for each in pieces)
    return "".join(map(_lower, normal))


def _lower(character: str) -> str:
    """Return the lower case of a letter that has exactly one, from which the way leads back to it; else itself.

    So the Kelvin sign is no k, the dotted capital I no i, and the long s, the sharp s and ligatures stay what they are.
    """
    lower = character.lower()
    return lower if len(lower) == 1 and lower.upper() == character else character
