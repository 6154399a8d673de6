"""The parser of compact JWS: any bytes are parsed or `Malformed`, in bounded time (SEC-26 to SEC-28)."""

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idp.signing.compact import MAX_LENGTH, Malformed, UnverifiedJwt, parse

MEMBER = st.sampled_from(["alg", "kid", "typ", "iss", "uid", "a", "crit", "b64", "zip", "enc", "cty", "é", "\ud800"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBER, inner, max_size=4),
    max_leaves=8,
)
PART = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
ENCODED = PART.map(lambda raw: urlsafe_b64encode(raw).rstrip(b"=").decode()) | st.text("AQgw-_=+/. \n", max_size=20)
LENIENT = settings(max_examples=300, deadline=None)


def parsed(token: str) -> UnverifiedJwt | None:
    try:
        return parse(token)
    except Malformed:
        return None


@given(st.text(max_size=200))
@LENIENT
def test_any_text_is_read_or_malformed(text: str) -> None:
    """SEC-27 SEC-28: no other exception comes out, so nothing here can become a 500."""
    unverified = parsed(text)
    assert unverified is None or unverified.token == text


@given(st.lists(ENCODED, min_size=1, max_size=5))
@LENIENT
def test_whatever_is_read_has_one_spelling_and_objects_without_duplicates(parts: list[str]) -> None:
    """SEC-26 SEC-27: canonical base64url, two JSON objects, none of the members that change the rest's meaning."""
    token = ".".join(parts)
    unverified = parsed(token)
    if unverified is None:
        return
    first, second, third = token.split(".")
    assert "=" not in first + second + third
    assert isinstance(unverified.header, dict)
    assert isinstance(unverified.claims, dict)
    assert not {"crit", "b64", "zip", "enc"} & unverified.header.keys()
    json.dumps([unverified.header, unverified.claims], ensure_ascii=False, allow_nan=False).encode()  # storable, finite


def encode(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_longest_token_is_read_and_one_more_character_is_not() -> None:
    """SEC-28: the bound is on the text, before anything is decoded."""
    head = f"{encode({'alg': 'ES256'})}.{encode({'iss': 'x'})}."
    room = MAX_LENGTH - len(head)
    assert parsed(head + "A" * (room - room % 4)) is not None
    assert parsed(head + "A" * (room - room % 4 + 4)) is None


@pytest.mark.alone
@pytest.mark.parametrize("depth", [7, 8, 9, 50, 900, 2900])
def test_depth_is_bounded_and_costs_nothing(depth: int) -> None:
    """SEC-28: eight levels are enough for any claim; the parser's own recursion limit is not what saves us."""
    nested = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    started = time.perf_counter()
    unverified = parsed(f"{encode({'alg': 'ES256'})}.{encode(nested)}.AAAA")
    assert (unverified is not None) is (depth <= 8)
    assert time.perf_counter() - started < 0.1


def test_an_unverified_token_does_not_show_itself() -> None:
    """SEC-74: not in a log, not in a trace-back."""
    unverified = parse(f"{encode({'alg': 'ES256'})}.{encode({'uid': 'somebody'})}.AAAA")
    assert repr(unverified) == "UnverifiedJwt(hidden)"
