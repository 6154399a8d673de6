"""Parse and validate values of settings by type, and describe the expected type."""

from typing import Any

import msgspec
from msgspec import inspect

from idp.settings_schema import Secret

_LEVELS = {"warn": "warning", "critical": "error", "fatal": "error", "trace": "debug"}  # level names of other loggers
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_MAX_SHOWN = 80


# Accidental characters around a value: line breaks, white space, a byte-order mark, invisible characters.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad\x00"


_QUOTES = ('"', "'")  # removed by shells, but kept by `docker run --env-file` and secret files


def trimmed(text: str) -> str:
    """Trim a value; the same rule for every secret from any source.

    Also removes one pair of quotation marks, if the value contains no other.
    """
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
        if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]:
            text = text[1:-1]
    return text


def is_secret(kind: Any) -> bool:
    """Whether the type is a secret or a list of secrets."""
    return "Secret" in str(kind)


def is_list(kind: Any) -> bool:
    """Whether the type is a list."""
    return str(kind).startswith("tuple[")


def tables_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct of a table of tables with fixed members, such as `oidc.providers`; None for other types."""
    described = _described(kind)
    if isinstance(described, inspect.DictType) and isinstance(described.value_type, inspect.StructType):
        return described.value_type.cls
    return None


def from_text(text: str, kind: Any) -> Any:
    """Parse an environment variable; lists are comma-separated, tables are JSON."""
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
        ValueError: it is invalid.
    """
    return msgspec.convert(value, kind, strict=False, dec_hook=_to_secret)


def _to_secret(_kind: type, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(trimmed(value))
    raise ValueError("not text")


def seen(value: Any, kind: Any) -> str:
    """Return a value for a message; only the type of a possible secret."""
    if is_secret(kind) or isinstance(_described(kind), inspect.DictType):
        return {str: "text", bool: "true or false", list: "a list", dict: "a table"}.get(type(value), "a number")
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def expected(kind: Any) -> str:
    """Describe the expected value, such as "a whole number from 0 to 65535"."""
    described = _described(kind)
    match described:
        case inspect.IntType():
            return f"a whole number{_range(described)}"
        case inspect.FloatType():
            return f"a number{_range(described)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            *others, last = [str(value) for value in described.values]
            return f"{', '.join(others)} or {last}"
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
