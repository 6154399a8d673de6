"""The JSON parsers of service and client accept the same documents, and none that is ambiguous (SEC-27, SEC-28)."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idp.signing import json_object as for_service
from idp_client import json_object as for_client

VECTORS: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "vectors/json_objects.json").read_text())

NAME = st.sampled_from(["a", "b", "é", "\ud800", "", "\\", '"', "\x00"]) | st.text(max_size=4)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.integers(2**62, 2**66),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=10,
)
SPACED = st.sampled_from([(",", ":"), (", ", ": ")])
MANY = settings(max_examples=500, deadline=None)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def members(raw: bytes) -> dict[str, Any] | None:
    """Return what both read, None where both refuse it; anything but ValueError is a defect."""
    read: list[dict[str, Any] | None] = []
    for reader in (for_service, for_client):
        try:
            read.append(reader.read_object(raw))
        except ValueError:
            read.append(None)
    assert repr(read[0]) == repr(read[1])
    return read[0]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_document_gets_its_verdict(vector: dict[str, str]) -> None:
    raw = vector["text"].encode() if "text" in vector else bytes.fromhex(vector["hex"])
    assert (members(raw) is not None) is (vector["verdict"] == "read")


@MANY
@given(st.dictionaries(NAME, VALUE, max_size=4), SPACED, st.booleans())
def test_whatever_is_read_is_what_the_standard_library_reads(
    value: dict[str, Any], spaced: tuple[str, str], ascii_only: bool
) -> None:
    """To the type: 1 is not 1.0 and not true."""
    text = json.dumps(value, separators=spaced, ensure_ascii=ascii_only)
    raw = text.encode("utf-8", "surrogatepass")
    read = members(raw)
    if read is not None:
        assert repr(read) == repr(json.loads(raw.decode()))


@MANY
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9) | st.text("xy", max_size=2)), max_size=5), SPACED)
def test_a_member_that_stands_twice_is_refused(pairs: list[tuple[str, Any]], spaced: tuple[str, str]) -> None:
    """Written as we write it ourselves or with spaces, at the top or further in."""
    comma, colon = spaced
    text = "{" + comma.join(f"{json.dumps(name)}{colon}{json.dumps(value)}" for name, value in pairs) + "}"
    expected = dict(pairs) if len(dict(pairs)) == len(pairs) else None
    assert members(text.encode()) == expected
    inner = members(f'{{"o":[{text}]}}'.encode())
    assert inner == (None if expected is None else {"o": [expected]})


@MANY
@given(st.binary(max_size=40) | VALUE.map(lambda value: json.dumps(value).encode()))
@example(b'{"a":-0}')
@example(b'{"a":1e400}')
@example(b'{"a":18446744073709551616}')
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'\xef\xbb\xbf{"a":1}')
def test_any_bytes_are_read_alike_or_refused(raw: bytes) -> None:
    read = members(raw)
    if read is not None:
        assert repr(read) == repr(json.loads(raw.decode(), object_pairs_hook=unique))
        msgspec.json.encode(read).decode()  # it can be stored


@pytest.mark.parametrize("shape", ["[]", "{}"])
@pytest.mark.parametrize("depth", [7, 8, 9, 1000, 3000])
def test_depth_is_bounded_however_it_is_written(shape: str, depth: int) -> None:
    inner = "[" * (depth - 1) + "]" * (depth - 1) if shape == "[]" else '{"a":' * (depth - 2) + "{}" + "}" * (depth - 2)
    for text in (f'{{"a":{inner}}}', f'{{ "a": {inner}}}'):
        assert (members(text.encode()) is not None) is (depth <= 8)
