"""The claims of a token that was verified or issued just now, for people to read; nothing is decided by them."""

import base64

import msgspec


def claims_of(token: str) -> dict[str, str]:
    """Return the claims of a JWT by name; empty for any other text."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError):
        return {}
    return {
        name: each if isinstance(each, str) else msgspec.json.encode(each).decode() for name, each in decoded.items()
    }
