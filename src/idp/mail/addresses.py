"""Parse addresses for mail headers and the SMTP envelope (RFC 5322, RFC 6531)."""

import re
from email.headerregistry import Address

import idna

FALLBACK = "idp <no-reply@localhost>"  # development only; production needs FROM_EMAIL
_FORBIDDEN = re.compile(r"[\s,;:<>\x00-\x1f\x7f]")
_NAMED = re.compile(r"(?P<name>[^<>@\x00-\x1f]*)<(?P<address>[^<>]+)>")
_ASCII_LOCAL_PART = re.compile(r"[\x21-\x7e]+")


class UnusableAddress(Exception):
    """The address cannot be used. The message does not quote it."""


def parse_address(text: str) -> Address:
    """Return one address with its domain in A-labels, so that only a local part may need SMTPUTF8.

    Raises:
        UnusableAddress: it is not exactly one address, or contains a line break.
    """
    local, _, domain = text.rpartition("@")
    if not local or not domain or _FORBIDDEN.search(text):
        raise UnusableAddress("not one e-mail address")
    try:
        return Address(username=local, domain=domain if domain.isascii() else _to_a_labels(domain))
    except (ValueError, IndexError) as error:
        raise UnusableAddress("the address cannot be written in a header") from error


def parse_sender(text: str) -> Address:
    """Return the address of `address` or `Name <address>`.

    Raises:
        UnusableAddress: as for `parse_address`.
    """
    named = _NAMED.fullmatch(text)
    if named is None:
        return parse_address(text)
    address = parse_address(named["address"])
    name = named["name"].strip().strip('"')
    return Address(display_name=name, username=address.username, domain=address.domain)


def service_name(from_email: str | None, brand: str) -> str:
    """Return the service's name in mails: the display name of the sender, else the name on pages."""
    try:
        return (parse_sender(from_email).display_name if from_email else "") or brand
    except UnusableAddress:
        return brand


def needs_utf8(address: Address) -> bool:
    """Whether this address requires SMTPUTF8 (RFC 6531)."""
    return _ASCII_LOCAL_PART.fullmatch(address.username) is None


def _to_a_labels(domain: str) -> str:
    return idna.encode(domain, uts46=True).decode()
