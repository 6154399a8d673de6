"""What a setting's type means: reading a value from text, checking it, and saying in words what was expected."""

from typing import Any

import msgspec
from msgspec import inspect

from idp.settings_schema import Secret

_LEVELS = {"warn": "warning", "critical": "error", "fatal": "error", "trace": "debug"}  # other loggers' names for ours
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SHOWN = 80


# What surrounds a value by accident: line breaks and spaces of every kind, a byte-order mark, invisible characters.
_AROUND = "\ufeff\u200b\u200c\u200d\u2060\u00ad\x00"


_QUOTES = ('"', "'")  # which a shell takes off, and `docker run --env-file` or a file of a secret keeps


def trimmed(text: str) -> str:
    """Return a value without what surrounds it: the one rule for every secret, however it comes.

    One pair of quotation marks surrounds it, too, where no other of them is inside.
    """
    before = None
    while before != text:
        before, text = text, text.strip().strip(_AROUND)
        if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]:
            text = text[1:-1]
    return text


def is_secret(kind: Any) -> bool:
    """Say whether it holds a secret, or several."""
    return "Secret" in str(kind)


def is_list(kind: Any) -> bool:
    """Say whether it holds several values."""
    return str(kind).startswith("tuple[")


def from_text(text: str, kind: Any) -> Any:
    """Return what an environment variable means; a list is separated by commas, a table is JSON."""
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
    """Return the value as the setting's type.

    Raises:
        ValueError: it does not fit.
    """
    return msgspec.convert(value, kind, strict=False, dec_hook=_to_secret)


def _to_secret(_kind: type, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(trimmed(value))
    raise ValueError("not text")


def seen(value: Any, kind: Any) -> str:
    """Return a value as a sentence may quote it; of what may be secret, only its kind."""
    if is_secret(kind) or isinstance(_described(kind), inspect.DictType):
        return {str: "text", bool: "true or false", list: "a list", dict: "a table"}.get(type(value), "a number")
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def expected(kind: Any) -> str:
    """Return in words what fits, such as "a whole number from 0 to 65535"."""
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
