"""Limits for JSON whose shape clients choose, such as `device_info` (SEC-28, SEC-76)."""

from typing import Any

import msgspec

from idp.ops.problems import invalid
from idp.plain_text import unseen_character


def check_client_json(value: Any, member: str, *, max_bytes: int, levels: int) -> None:
    """Refuse JSON that is too large, too deep, or cannot be stored.

    Args:
        value: decoded JSON.
        member: its name in the body.
        max_bytes: of its shortest encoding.
        levels: how deep objects and lists may be nested.

    Raises:
        ValidationFailed: names the member, what was sent and what is allowed.
    """
    _check_storable(value, member, levels=levels, allowed=levels)
    size = len(msgspec.json.encode(value))
    if size > max_bytes:
        raise invalid(["body", member], f"At most {max_bytes} bytes of JSON, {size} were sent.")


def _check_storable(value: Any, member: str, *, levels: int, allowed: int) -> None:
    if isinstance(value, str) and (found := unseen_character(value)):
        raise invalid(["body", member], f"The character {found} is not allowed: it moves, turns or hides text.")
    children = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if children and not levels:
        raise invalid(["body", member], f"At most {allowed} levels of objects and lists.")
    for child in children:
        _check_storable(child, member, levels=levels - 1, allowed=allowed)
