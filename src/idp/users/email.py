"""E-mail addresses: syntax, the form we store, and the key by which two spellings are one person (C-13)."""

import hashlib

import idna
from email_validator import EmailNotValidError, EmailSyntaxError, validate_email

from idp.users.normal_form import normal_form

MAX_LENGTH = 254  # RFC 5321 section 4.5.3.1.3


def parse_email(text: str) -> str:
    """Return the address as we store it: NFC, the domain in lower case.

    Args:
        text: what was typed.

    Raises:
        ValueError: it is no address; the text says what is wrong with it.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    try:
        return validate_email(text, check_deliverability=False, globally_deliverable=False).normalized
    except (EmailSyntaxError, EmailNotValidError) as error:
        raise ValueError(str(error)) from None


def email_key(email: str) -> str:
    """Return the key under which an address is unique: NFC, casefolded, the domain in IDNA A-labels.

    Takes any text, so that looking up nonsense finds nobody instead of failing. What is too long for an address has a
    key that no address has, and costs no Unicode work.
    """
    text = email.strip().replace("\x00", "")
    if len(text) > MAX_LENGTH:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    local, _, domain = normal_form(text).rpartition("@")
    folded = normal_form(local.casefold())
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        ascii_domain = domain.casefold()
    return f"{folded}@{ascii_domain}"
