"""Reads CSV exports as rows by column."""

import csv
from collections.abc import Iterator
from pathlib import Path

from idp.importing.readers import BadExport

_MAX_FIELD = 1 << 20  # characters


def rows(path: Path, *needed: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a file that has these columns.

    Raises:
        BadExport: it has not, or it is not CSV in UTF-8.
    """
    csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise BadExport(f"{path} has no column {missing[0]}")
            for row in reader:
                if None in row or None in row.values():
                    raise BadExport(f"{path}, line {reader.line_num} has another number of columns than the first line")
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadExport(f"{path} cannot be read as CSV in UTF-8: {error}") from None
