"""A file that cannot be read is refused as a whole, with the number of each bad line; nothing is written."""

import json
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.support import idp
from factories import Service
from idp.importing.ndjson import BadLine, check
from idp.importing.records import KINDS
from importing.import_support import do_import, header, numbers, refused, user, write

GOOD = json.dumps(user("u1"))
HEADER = json.dumps(header())
ID = str(uuid.uuid4())
BAD_LINES = {
    "{": "not JSON",
    "[1, 2]": "Expected `object`, got `array`",
    "null": "Expected `object`, got `null`",
    '{"kind": "person", "id": "1"}': "Invalid value 'person'",
    '{"id": "1"}': "missing required field `kind`",
    '{"kind": "user"}': "missing required field `id`",
    '{"kind": "user", "id": 7}': "Expected `str`, got `int`",
    '{"kind": "user", "id": "1", "emial": "a@example.com"}': "unknown field `emial`",
    '{"kind": "user", "id": "1", "email_verified": "yes"}': "Expected `bool`, got `str`",
    '{"kind": "user", "id": "1", "is_active": null}': "Expected `bool`, got `null`",
    '{"kind": "user", "id": "1", "created_at": "yesterday"}': "RFC3339",
    '{"kind": "user", "id": "1", "created_at": "0001-01-01T00:00:00+14:00"}': "out of range",
    '{"kind": "user", "id": "1", "email": "a@example.com", "email": "b@example.com"}': "'email' appears twice",
    '{"kind" :"user", "id" :"1", "email" :"a@example.com", "email" :"b@example.com"}': "'email' appears twice",
    '{"kind": "user", "id": "1", "name": "a\\u0000b"}': "NUL",
    '{"kind": "user", "id": "1", "roles": ["a\\u0000b"]}': "NUL",
    '{"kind": "user", "id": ""}': "id is empty",
    '{"kind": "user", "id": " 1"}': "begins or ends with a space",
    '{"kind": "user", "id": "a\\nb"}': "U+000A",
    f'{{"kind": "user", "id": "{"x" * 513}"}}': "more than 512 bytes",
    f'{{"kind": "user", "id": "1", "name": "{"x" * 2001}"}}': "length <= 2000",
    '{"kind": "team", "id": "7", "name": "a"}': "Invalid UUID",
    json.dumps({"kind": "token", "token_id": ID, "token_hash": "ABC", "name": "a"}): "regex",
    json.dumps({"kind": "token", "token_id": ID, "token_hash": "a" * 64, "name": "a", "metadata": [1]}): "got `array`",
    json.dumps({"kind": "pending_token", "type": "magic", "token_hash": "a" * 64, "user_id": "1"}): "'magic'",
    json.dumps({"kind": "team_membership", "user_id": "1", "team_id": ID, "role": "owner"}): "'owner'",
    HEADER: "second header",
    GOOD: "'u1' appears twice, first in line 2",
    f'{{"kind": "user", "id": "1", "name": "{"x" * (1 << 20)}"}}': "longer than 1048576 bytes",
    "[" * 5000: "Expected `object`, got `array`",
    '{"kind": "audit", "action": "a", "details": {"a": [["b\\u0000"]]}}': "NUL",
    f'{{"kind": "audit", "action": "a", "details": {"[" * 5000 + "]" * 5000}}}': "nested too deeply",
}


@pytest.mark.parametrize(("line", "why"), BAD_LINES.items(), ids=[f"bad{n}" for n in range(len(BAD_LINES))])
def test_a_bad_line_is_named(service: Service, tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "bad.ndjson"
    file.write_text(f"{HEADER}\n{GOOD}\n{line}\n")
    said = refused(service, file)
    assert "line 3: " in said
    assert why in said
    assert len(said) < 600


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (GOOD.encode(), "line 1: the first line must be the header"),
        (b'{"kind":"header","format":"idp-import/2","source":"x"}', "the format is 'idp-import/2'"),
        (b'{"kind":"header","source":"x"}', "missing required field `format`"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "line 1"),
        (HEADER.encode() + b'\n{"kind":"user","id":"\xff"}', "line 2"),
        (b"\x1f\x8b\x08\x00\x00", "line 1"),
        (b"\x00" * 3_000_000, "line 1"),
    ],
)
def test_a_file_that_is_none_is_refused(service: Service, tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "bad.ndjson"
    file.write_bytes(content)
    assert why in refused(service, file)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = sorted({name for record in KINDS.values() for name in record.__struct_fields__})


@given(
    st.binary(max_size=80)
    | st.fixed_dictionaries(
        {"kind": st.sampled_from(sorted(KINDS)), "id": _JSON, "user_id": st.text(max_size=5)},
        optional={name: _JSON for name in _MEMBERS if name not in {"id", "user_id"}},
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_line_raises_anything_else(raw: bytes) -> None:
    """Whatever a line holds: a record, or a sentence about it."""
    with suppress(BadLine):
        record = check(raw)
        assert record.primary_id is None or "\x00" not in record.primary_id


def test_many_bad_lines_are_counted(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "bad.ndjson"
    file.write_text("\n".join([HEADER, *["{}"] * 50]))
    said = refused(service, file)
    assert "line 21: " in said
    assert "line 22: " not in said
    assert "and 30 more bad lines" in said


async def test_nothing_of_a_bad_file_is_written(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "bad.ndjson"
    file.write_text(f"{HEADER}\n{json.dumps(user('never-there'))}\n{{\n")
    refused(service, file)
    assert await service.sql("SELECT FROM idp.users WHERE id = 'never-there'") == []


def test_a_byte_order_mark_crlf_and_blank_lines_are_accepted(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "windows.ndjson"
    lines = [HEADER, "", json.dumps(user("win-1", name="Zoë 🦊")), "  ", json.dumps(user("win-2"))]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert numbers(do_import(service, file)) == (2, 0, 0, 0)


async def test_stdin_is_read(service: Service) -> None:
    typed = f"{HEADER}\n{json.dumps(user('from-stdin', created_at='2020-02-03 04:05:06'))}\n"
    done = idp("import", "-", "-o", "json", typed=typed, DATABASE_URL=service.database_url)
    assert done.returncode == 0, done
    assert numbers(json.loads(done.stdout)) == (1, 0, 0, 0)
    ((created,),) = await service.sql("SELECT created_at FROM idp.users WHERE id = 'from-stdin'")
    assert created.isoformat() == "2020-02-03T04:05:06+00:00", "a time without a zone is UTC"


async def test_kinds_may_come_in_any_order(service: Service, tmp_path: Path) -> None:
    """Records refer to each other in both directions; a child domain comes before its parent."""
    team, parent, child = (str(uuid.uuid4()) for _ in range(3))
    records = [
        {"kind": "team_membership", "user_id": "order-1", "team_id": team, "role": "admin"},
        {"kind": "user_domain", "user_id": "order-1", "domain_id": child},
        {"kind": "domain", "id": child, "key": "order-child", "name": "Child", "parent_domain_id": parent},
        {"kind": "identity", "user_id": "order-1", "provider": "https://idp.example.com", "subject": "s-1"},
        user("order-1"),
        {"kind": "domain", "id": parent, "key": "order-parent", "name": "Parent"},
        {"kind": "team", "id": team, "name": "Order"},
    ]
    file = write(tmp_path / "mixed.ndjson", *records)
    assert numbers(do_import(service, file)) == (7, 0, 0, 0)
    assert numbers(do_import(service, file)) == (0, 0, 7, 0)
    ((found,),) = await service.sql("SELECT parent_domain_id::text FROM idp.domains WHERE key = 'order-child'")
    assert found == parent


def test_a_database_that_is_away_or_not_migrated_is_explained(service: Service, tmp_path: Path) -> None:
    file = write(tmp_path / "one.ndjson", user("nobody"))
    done = idp("import", str(file), DATABASE_URL="postgresql://idp@127.0.0.1:1/idp")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing answers at 127.0.0.1" in done.stderr
