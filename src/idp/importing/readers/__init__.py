"""Readers of other products' exports: each yields the records of `idp-import/1` (`idp convert`).

A reader has a function `records(paths, warn)`; `warn` is called with a sentence about what is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Warn = Callable[[str], None]
Reader = Callable[[Sequence[Path], Warn], Iterator[Row]]
# Providers whose issuer is the same everywhere, by the names that products give them.
KNOWN_ISSUERS = {
    "google": "https://accounts.google.com",
    "google-oauth2": "https://accounts.google.com",
    "apple": "https://appleid.apple.com",
    "github": "https://github.com",
}


class BadExport(Exception):
    """A file is not such an export; the message says where."""


def record(kind: str, **members: Any) -> Row:
    """Return a record without members that are null."""
    return {"kind": kind} | {name: value for name, value in members.items() if value is not None}


def joined(*parts: str | None) -> str | None:
    """Return a name made of the parts that there are."""
    return " ".join(each.strip() for each in parts if each and each.strip()) or None
