"""E-mail addresses: syntax, stored form, and the unique key (C-13).

Two mailboxes must never share an account, because the owner of one could take over the other. So only differences in
case and composition are ignored, never across scripts (`docs/decisions/0030-unique-mailbox-keys.md`).
"""

import hashlib
import re
import unicodedata

import idna
from email_validator import EmailNotValidError, EmailSyntaxError, validate_email

MAX_LENGTH = 254  # RFC 5321 section 4.5.3.1.3
_MAX_KEY_INPUT = 1000  # characters; longer text is no address, and normalising it could take seconds
_MAX_DOMAIN_LENGTH = 512  # characters; longer names are invalid in IDNA and slow to check
# The only non-ASCII characters whose canonical form is ASCII: Greek question mark, Greek varia, Kelvin sign (guaranteed
# by Unicode's stability policy).
_BECOMES_ASCII = re.compile("([\u037e\u1fef\u212a])")


def parse_email(text: str) -> str:
    """Return the stored form of an address: NFC, the domain in lower case.

    Args:
        text: the entered address.

    Raises:
        ValueError: it is invalid; the message gives the reason.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    if match := _BECOMES_ASCII.search(text.rpartition("@")[0]):
        looks = unicodedata.normalize("NFC", match[1])
        raise ValueError(f"U+{ord(match[1]):04X} before the @ looks like {looks}; use {looks} instead")
    try:
        return validate_email(text, check_deliverability=False, globally_deliverable=False).normalized
    except (EmailSyntaxError, EmailNotValidError) as error:
        raise ValueError(str(error)) from None


def email_key(email: str) -> str:
    """Return the key under which an address is unique: NFC, in lower case, the domain in IDNA A-labels.

    Accepts any text, so that a look-up of an invalid address finds no user instead of failing.
    """
    if len(email) > _MAX_KEY_INPUT:
        return f"too long:{hashlib.sha256(email.encode('utf-8', 'surrogatepass')).hexdigest()}"
    local, _, domain = email.strip().replace("\x00", "\ufffd").rpartition("@")
    try:
        ascii_domain = _folded(domain) if len(domain) > _MAX_DOMAIN_LENGTH else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        ascii_domain = _folded(domain)
    return f"{_folded(local)}@{ascii_domain}"


def domain_key(email: str) -> str:
    """Return the domain of an address as `email_key` has it, so that no other spelling of it is another domain."""
    return email_key(email).rpartition("@")[2]


def _folded(text: str) -> str:
    """Return NFC in lower case, without mapping non-ASCII letters to ASCII."""
    if text.isascii():
        return text.lower()
    pieces = _BECOMES_ASCII.split(text)
    normal = "".join(each if _BECOMES_ASCII.match(each) else unicodedata.normalize("NFC", each) for each in pieces)
    return "".join(map(_lower, normal))


def _lower(character: str) -> str:
    """Return the lower case of a letter if it is unique and reversible, else the letter.

    So the Kelvin sign does not become k, the dotted capital I not i; long s, sharp s and ligatures are unchanged.
    """
    lower = character.lower()
    return lower if len(lower) == 1 and lower.upper() == character else character
