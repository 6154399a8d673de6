"""Which ids an operator may choose for a client; all others are generated."""

import re
from uuid import UUID

_FORMAT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OWN = "idp"  # `client_id` of tokens from our own login (`signing/jwt.py`)


def id_problem(client_id: str) -> str | None:
    """Return why a client cannot have this id, None if it can.

    The id is the subject of tokens of the client itself, so it must not be that of a user (RFC 9068 section 5).
    """
    if not _FORMAT.fullmatch(client_id):
        return "A client_id has at most 128 letters, digits, dots, dashes and underscores."
    if client_id == _OWN:
        return "This client_id is that of our own login."
    return "A client_id is no UUID, which could be the id of a user." if _is_uuid(client_id) else None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
