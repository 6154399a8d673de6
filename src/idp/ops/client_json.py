"""JSON that clients choose themselves: what may be stored of it (SEC-28, SEC-76)."""

from typing import Any

import msgspec

from idp.ops.problems import invalid
from idp.plain_text import unseen_character


def check_client_json(value: Any, member: str, *, most_bytes: int, levels: int) -> None:
    """Refuse what is too large, too deep, or cannot be stored.

    Args:
        value: decoded JSON.
        member: what the body calls it.
        most_bytes: of its shortest encoding.
        levels: of objects and lists inside each other.

    Raises:
        ValidationFailed: naming the member, what was seen and what fits.
    """
    _check_storable(value, member, levels=levels, most=levels)
    size = len(msgspec.json.encode(value))
    if size > most_bytes:
        raise invalid(["body", member], f"At most {most_bytes} bytes of JSON, {size} were sent.")


def _check_storable(value: Any, member: str, *, levels: int, most: int) -> None:
    if isinstance(value, str) and (found := unseen_character(value)):
        raise invalid(["body", member], f"The character {found} is not allowed: it moves, turns or hides text.")
    children = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if children and not levels:
        raise invalid(["body", member], f"At most {most} levels of objects and lists.")
    for child in children:
        _check_storable(child, member, levels=levels - 1, most=most)
