"""JSON Schemas of the events, generated from the catalogue."""

import inspect
from pathlib import Path
from typing import Any

import msgspec

from idp.events.catalogue import DATA, EventType
from idp.events.envelope import SOURCE

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}


def schema_of(type: EventType) -> dict[str, Any]:  # noqa: A002
    """Return the JSON Schema (draft 2020-12) of the whole CloudEvent of a type."""
    shape = DATA[type]
    (data,), definitions = msgspec.json.schema_components((shape,), ref_template="#/$defs/{name}")
    attributes: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "Idempotency key: deliveries may be repeated."},
        "source": {"const": SOURCE},
        "type": {"const": str(type)},
        "subject": _TEXT | {"description": "The user's id, or `team:<id>`, `domain:<id>`, `service_token:<id>`."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": shape.dataschema},
        "partitionkey": _TEXT | {"description": "Equal to `subject`."},
        "sequence": {
            "type": "string",
            "pattern": "^[0-9]{20}$",
            "description": "The version in `data`.",
        },
        "data": data,
    }
    required = [name for name in attributes if name != "sequence"]
    return {
        "$schema": _DIALECT,
        "title": str(type),
        "type": "object",
        "properties": attributes,
        "required": required,
        "$defs": {name: _with_clean_description(each) for name, each in definitions.items()},
    }


def _with_clean_description(definition: dict[str, Any]) -> dict[str, Any]:
    """Remove the indentation of the docstring."""
    return definition | {"description": inspect.cleandoc(definition["description"])}


def write(folder: Path) -> list[Path]:
    """Write a file for each type, remove other JSON files, and return the files."""
    files = {folder / f"{each}.json": schema_of(each) for each in EventType}
    folder.mkdir(parents=True, exist_ok=True)
    for obsolete in set(folder.glob("*.json")) - files.keys():
        obsolete.unlink()
    for path, schema in files.items():
        path.write_bytes(msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n")
    return list(files)
