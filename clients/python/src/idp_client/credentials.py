"""Finds the credential of a request: at most one, in `Authorization: Bearer` or `X-API-Key`."""

import re
from collections.abc import Iterable

from idp_client.errors import AmbiguousCredentials

MAX_LENGTH = 8192  # characters; tokens of idp have about 700
# Marks a credential of another scheme, so that it is present but never valid.
_FOREIGN_SCHEME = "\x00"
_PLAUSIBLE = re.compile(rf"[\x21-\x7e]{{1,{MAX_LENGTH}}}\Z")
Headers = Iterable[tuple[bytes, bytes]]


def find_token(headers: Headers) -> str | None:
    """Return the credential as sent, None if there is none. An empty text is an invalid credential.

    Args:
        headers: ASGI header pairs.

    Raises:
        AmbiguousCredentials: there are two different credentials.
    """
    explicit: set[str] = set()
    for raw_name, raw_value in headers:
        name = raw_name.lower()
        if name == b"authorization":
            explicit.add(_bearer(raw_value.decode("latin-1").strip()))
        elif name == b"x-api-key":
            explicit.add(raw_value.decode("latin-1").strip())
    if len(explicit) > 1:
        raise AmbiguousCredentials
    return explicit.pop() if explicit else None


def is_plausible(token: str) -> bool:
    """Whether a text can be a credential: visible ASCII, 1 to MAX_LENGTH characters."""
    return _PLAUSIBLE.match(token) is not None


def _bearer(value: str) -> str:
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else _FOREIGN_SCHEME + value
