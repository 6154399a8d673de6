"""Reads the fields of the account's forms."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def read(shape: type[S], values: Mapping[str, Any]) -> S | None:
    """Return a form's values as the body of the API's request; None if one of them is not valid there."""
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError:
        return None


def is_valid(shape: type[msgspec.Struct], name: str, value: object) -> bool:
    """Whether a single value is valid as this member."""
    return read(shape, {name: value}) is not None
