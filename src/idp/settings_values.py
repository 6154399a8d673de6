"""Parses, checks and describes values of settings by their types."""

from typing import Any

import msgspec
from msgspec import inspect

from idp.settings_schema import Secret

_LEVELS = {"warn": "warning", "critical": "error", "fatal": "error", "trace": "debug"}  # names used by other loggers
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_MAX_SHOWN = 80


# Removed around a value besides white space: a byte-order mark and invisible characters.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad\x00"


_QUOTES = ('"', "'")  # a shell removes them, but `docker run --env-file` and secret files keep them


def trimmed(text: str) -> str:
    """Return a value without surrounding white space, invisible characters and quotation marks.

    One pair of quotation marks is removed, if the value contains no other of the same kind. Secrets from variables and
    files follow the same rule.
    """
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
        if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]:
            text = text[1:-1]
    return text


def is_secret(kind: Any) -> bool:
    """Whether a setting is a secret or a list of secrets."""
    return "Secret" in str(kind)


def is_list(kind: Any) -> bool:
    """Whether a setting is a list."""
    return str(kind).startswith("tuple[")


def from_text(text: str, kind: Any) -> Any:
    """Parse an environment variable; lists are separated by commas, tables are JSON."""
    if is_list(kind):
        return [trimmed(part) for part in text.split(",") if trimmed(part)]
    described = _described(kind)
    if isinstance(described, inspect.DictType):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    if isinstance(described, inspect.BoolType):
        return _SWITCHES.get(text.lower(), text)
    if isinstance(described, inspect.LiteralType) and "debug" in described.values:
        return _LEVELS.get(text.lower(), text.lower())
    return text


def checked(value: Any, kind: Any) -> Any:
    """Convert a value to the setting's type.

    Raises:
        ValueError: the value is invalid.
    """
    return msgspec.convert(value, kind, strict=False, dec_hook=_to_secret)


def _to_secret(_kind: type, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(trimmed(value))
    raise ValueError("not text")


def seen(value: Any, kind: Any) -> str:
    """Return a value for a message; of a possible secret, only its JSON type."""
    if is_secret(kind) or isinstance(_described(kind), inspect.DictType):
        return {str: "text", bool: "true or false", list: "a list", dict: "a table"}.get(type(value), "a number")
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def expected(kind: Any) -> str:
    """Describe the valid values, such as "a whole number from 0 to 65535"."""
    described = _described(kind)
    match described:
        case inspect.IntType():
            return f"a whole number{_range(described)}"
        case inspect.FloatType():
            return f"a number{_range(described)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            *first, last = [str(value) for value in described.values]
            return f"{', '.join(first)} or {last}"
        case inspect.VarTupleType():
            return "a list of texts"
        case inspect.DictType():
            return "a table of tables"
    return "text"


def _described(kind: Any) -> inspect.Type:
    described = inspect.type_info(kind)
    if isinstance(described, inspect.UnionType):  # "or unset"
        return next(each for each in described.types if not isinstance(each, inspect.NoneType))
    return described


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    low = f"above {kind.gt}" if kind.gt is not None else f"from {kind.ge}"
    return f" {low} to {kind.le}" if kind.gt is None else f" {low}, at most {kind.le}"
