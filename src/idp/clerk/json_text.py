"""Reads JSON from Clerk, parts of which users write themselves (`unsafe_metadata`).

Half a surrogate pair or a thousand levels of brackets must not keep anyone from being synchronized or banned, so they
are read where strict parsers give up.
"""

import json
import re
from typing import Any

import msgspec

_MAX_DEPTH = 32  # levels; everything deeper is metadata
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        return read_json(_shallow(raw))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _shallow(raw: bytes) -> bytes:
    """Return a JSON text whose arrays and objects beyond the deepest level are replaced by null."""
    kept, depth, start = bytearray(), 0, 0
    for token in _TOKEN.finditer(raw):
        if token[0] in b"[{":
            depth += 1
            if depth == _MAX_DEPTH + 1:
                kept += raw[start : token.start()] + b"null"
        elif token[0] in b"]}":
            depth -= 1
            if depth == _MAX_DEPTH:
                start = token.end()
            if depth < 0:
                raise ValueError("not JSON")
    if depth != 0:
        raise ValueError("not JSON")
    return bytes(kept + raw[start:])


def text_of(value: object, *, max_length: int) -> str | None:
    """Return text without lone surrogates, which PostgreSQL cannot store; None for anything else, or longer text."""
    if not isinstance(value, str) or not 0 < len(value) <= max_length:
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
