"""Base64url: one encoding for each byte string, all others are refused (RFC 7515 section 2; SEC-27)."""

import string
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idp.signing import base64url

SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
MANY = settings(max_examples=500, deadline=None)


def decoded(text: str) -> bytes | None:
    """Return the bytes, None where it is refused; anything but ValueError is a defect."""
    try:
        return base64url.decode(text)
    except ValueError:
        return None


@MANY
@given(st.binary(max_size=400))
def test_bytes_are_written_as_the_standard_library_writes_them(raw: bytes) -> None:
    text = base64url.encode(raw)
    assert text == urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert decoded(text) == raw


@MANY
@given(st.text(SIGNS, max_size=40) | st.text(SIGNS + "+/=. \n\t\0é", max_size=20) | st.text(max_size=20))
def test_whatever_is_read_is_the_one_spelling_of_its_bytes(text: str) -> None:
    raw = decoded(text)
    if raw is not None:
        assert set(text) <= set(SIGNS)
        assert base64url.encode(raw) == text
        assert urlsafe_b64decode(text + "=" * (-len(text) % 4)) == raw


@pytest.mark.parametrize("length", range(1, 70))
def test_only_one_last_sign_of_those_with_the_same_bytes_is_read(length: int) -> None:
    """RFC 4648 section 3.5: the bits of the last sign that belong to no byte are zero."""
    raw = bytes(range(100, 100 + length))
    text = base64url.encode(raw)
    others = [text[:-1] + sign for sign in SIGNS if sign != text[-1]]
    same = [other for other in others if urlsafe_b64decode(other + "=" * (-len(text) % 4)) == raw]
    assert len(same) == {0: 0, 1: 15, 2: 3}[length % 3]
    assert not any(decoded(other) for other in same)


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA==", "AAA=", "AA=", "=", "====", "AAAA=", "AAAA====", "AA==AAAA"])
def test_a_padded_or_impossible_length_is_refused(text: str) -> None:
    assert decoded(text) is None


@pytest.mark.parametrize("sign", ["+", "/", "=", " ", "\n", "\r", "\t", "\0", ".", ",", "~", "é", "\uff21", "\ud800"])
def test_a_sign_of_no_base64url_is_refused_wherever_it_stands(sign: str) -> None:
    for at in range(9):
        assert decoded("AAAAAAAA"[:at] + sign + "AAAAAAAA"[at:]) is None
        assert decoded("AAAAAAAA"[:at] + sign + "AAAAAAAA"[at + 1 :]) is None
