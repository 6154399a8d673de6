"""Check URLs and hosts in settings at start, instead of failing at the first request.

Messages never quote a value that may contain a secret: a URL with credentials, or an invalid URL.
"""

import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

_LABEL = re.compile(r"^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$")
_HIDDEN = "(not shown)"


def _is_number(value: str) -> bool:
    return re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value) is not None


def _is_time(value: str) -> bool:
    return _is_number(value) and float(value) > 0  # with 0 every request would time out


def _is_whole(value: str) -> bool:
    return re.fullmatch(r"\d{1,9}", value) is not None


def _is_count(value: str) -> bool:
    return _is_whole(value) and int(value) > 0


def _is_readable_file(value: str) -> bool:
    return Path(value).is_file() and os.access(value, os.R_OK)


def _is_switch(value: str) -> bool:
    return value.lower() in {"true", "false", "yes", "no", "y", "n", "t", "f", "1", "0"}


# Options of a Valkey URL that our client supports, and their validators.
_VALKEY_OPTIONS: dict[str, Callable[[str], bool]] = {
    "db": _is_whole,
    "username": bool,
    "password": bool,
    "socket_timeout": _is_time,
    "socket_connect_timeout": _is_time,
    "socket_keepalive": _is_switch,
    "health_check_interval": _is_whole,
    "max_connections": _is_count,
    "retry_on_timeout": _is_switch,
    "client_name": lambda value: re.fullmatch(r"[!-~]{1,64}", value) is not None,
    "protocol": lambda value: value in {"2", "3"},
    "ssl_cert_reqs": lambda value: value in {"none", "optional", "required"},
    "ssl_ca_certs": _is_readable_file,
    "ssl_certfile": _is_readable_file,
    "ssl_keyfile": _is_readable_file,
    "ssl_check_hostname": _is_switch,
}


def is_host(text: str) -> bool:
    """Whether this is a host name or IP address; an IPv6 address may have brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip_address(bare)
    except ValueError:
        if bare is not text or re.fullmatch(r"[\d.]+", bare):  # 300.1.1.1 is not a host name either
            return False
    else:
        return True
    name = text.removesuffix(".")
    try:
        name = name.encode("ascii").decode() if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return False
    return 0 < len(name) <= 253 and all(_LABEL.match(label) for label in name.split("."))


def shown(url: str) -> str:
    """Return a URL for a message, hidden if it may contain credentials."""
    return _HIDDEN if "@" in url or "%40" in url.lower() else repr(url[:200])


def problem_of_url(name: str, url: str, *, example: str, path: bool = True) -> str | None:
    """Return the problem of a web URL, None if it is valid.

    Args:
        name: the setting.
        url: its value.
        example: a valid value.
        path: whether a path is allowed.
    """
    if "@" in re.split(r"[?#]", url, maxsplit=1)[0]:
        return f"{name} contains credentials (before the @), which would become public: use {example}."
    advice = f"use a URL such as {example}."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"{name} is not a valid URL: {advice}"
    fits = (
        re.match(r"^https?://[^/]", url, re.IGNORECASE)
        and not re.search(r"[\s\x00-\x20\x7f*\\<>\"'{}|^`]", url)
        and parts.hostname is not None
        and is_host(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
        and port != 0
        and not parts.netloc.endswith(":")
        and not ("?" in url or "#" in url)
        and (path or parts.path == "")
        and not re.search(r"(^|/)\.{1,2}(/|$)|//", parts.path)
    )
    return None if fits else f"{name} is {shown(url)}: {advice}"


def problem_of_host(name: str, host: str, *, example: str) -> str | None:
    """Return the problem of a host name, None if it is valid."""
    if is_host(host) and not host.startswith("["):
        return None
    what = "contains a port or is not a host name" if ":" in host else "is not a host name"
    return f"{name} {what} ({shown(host)}): use {example}, and the separate setting for the port."


def problem_of_valkey(name: str, url: str) -> str | None:
    """Return the problem of a Valkey URL, None if it is valid. The URL is never quoted."""
    example = "valkey://:password@host:6379/0"
    scheme = re.match(r"^((?:valkey|redis)s?|unix)://", url)
    if scheme is None:
        return f"{name} is not a Valkey URL: use {example}."
    encode = f"{name} is invalid: use {example}, with @ / ? # : % in a password percent-encoded."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return encode
    if "#" in url or "@" in parts.path + parts.query or re.search(r"[\s\x00-\x20\x7f]", url) or url.count("@") > 1:
        return encode
    if scheme[1] == "unix":
        if not parts.path or parts.hostname:
            return f"{name} has no socket path: use unix:///run/valkey/valkey.sock."
    else:
        host = parts.hostname or ""
        if not is_host(f"[{host}]" if ":" in host else unquote(host)) or port == 0:
            return encode
        if parts.path not in {"", "/"} and not re.fullmatch(r"/\d{1,5}", parts.path):
            return f"{name} has an invalid database number: use {example}."
    return _problem_of_options(name, scheme[1], parts.query)


def _problem_of_options(name: str, scheme: str, query: str) -> str | None:
    for option, value in parse_qsl(query, keep_blank_values=True):
        fits = _VALKEY_OPTIONS.get(option)
        if fits is None:
            return f"{name} has an unknown option; supported are {', '.join(sorted(_VALKEY_OPTIONS))}."
        if option.startswith("ssl_") and scheme not in {"valkeys", "rediss"}:
            return f"The option {option} of {name} is for TLS: use valkeys://, or remove the option."
        if option == "socket_keepalive" and scheme == "unix":
            return f"The option {option} of {name} is for TCP, not for a unix socket: remove it."
        if fits is _is_readable_file and not fits(value):
            return f"The file in option {option} of {name} cannot be read."
        if not fits(value):
            return f"The option {option} of {name} has an invalid value."
    return None
