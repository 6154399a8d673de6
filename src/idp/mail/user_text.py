"""Sanitize user input for mails to other people.

An attacker who registers a stranger's address chooses the name in that mail. So a name that looks like a link is
omitted, and line breaks and bidirectional control characters are removed.
"""

import re
import unicodedata
from typing import Any

MAX_NAME_LENGTH = 60
_MAX_DEVICE_LENGTH = 40
_MAX_USER_AGENT_LENGTH = 512
_ADDRESS = re.compile(r"://|@|\bwww\.|\w\.\w{2,}|[\\/]")  # text that mail programs turn into links
_JOINERS = "\u200c\u200d"  # required by Persian and emoji; other format characters reorder or hide text
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_DEVICE = re.compile(r"[^\w ()'+-]|_")
_DEVICE_MEMBERS = ("name", "device_name", "model", "device", "platform")


def one_line(text: str) -> str:
    """Return the text without line breaks, control and bidirectional characters."""
    kept = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character) not in _INVISIBLE
    )
    return " ".join(kept.split())


def person_name(name: str | None) -> str | None:
    """Return a sanitized name for the greeting, None if it is not usable."""
    text = one_line(name or "")
    if not text or _ADDRESS.search(text):
        return None
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[: MAX_NAME_LENGTH - 1].rstrip()}…"


def device_name(user_agent: str | None, device_info: Any = None) -> str | None:
    """Return a readable device name, such as "Firefox on Linux"; None if unknown.

    The first call in a process loads the library's tables, which takes 0.3 s: use `asyncio.to_thread`.

    Args:
        user_agent: the request's header.
        device_info: the client's description, an object or a string (C-32), for non-browser clients.
    """
    return _from_user_agent(user_agent) or _from_info(device_info)


def device_parts(user_agent: str | None) -> tuple[str | None, str | None]:
    """Return the browser and the operating system of a device, such as "Firefox" and "Linux"; as slow as
    `device_name`."""
    if not user_agent:
        return None, None
    import ua_parser

    text = user_agent[:_MAX_USER_AGENT_LENGTH]
    browser, system = ua_parser.parse_user_agent(text), ua_parser.parse_os(text)
    return _device(browser.family) if browser else None, _device(system.family) if system else None


def _from_user_agent(user_agent: str | None) -> str | None:
    return " on ".join(name for name in device_parts(user_agent) if name) or None


def _from_info(info: Any) -> str | None:
    if isinstance(info, dict):
        info = next((info[key] for key in _DEVICE_MEMBERS if isinstance(info.get(key), str) and info[key]), None)
    return _device(info) if isinstance(info, str) else None


def _device(text: str) -> str | None:
    """Keep only letters, digits and a few symbols, so that mail programs create no link."""
    return " ".join(_DEVICE.sub(" ", one_line(text)).split())[:_MAX_DEVICE_LENGTH].strip() or None
