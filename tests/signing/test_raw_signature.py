"""Signatures created and verified with `cryptography`, compared with joserfc (RFC 7518 section 3)."""

from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from idp.signing import base64url, raw_signature
from signing.forgery import b64url, compact, es256, json_bytes, rs256

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
KEYS: dict[str, Any] = {
    "ES256": ECKey.generate_key("P-256", private=True),
    "RS256": RSAKey.generate_key(2048, private=True),
}
OTHERS: dict[str, Any] = {
    "ES256": ECKey.generate_key("P-256", private=True),
    "RS256": RSAKey.generate_key(2048, private=True),
}
SIGN = {"ES256": es256(KEYS["ES256"]), "RS256": rs256(KEYS["RS256"])}
ALGORITHMS = st.sampled_from(["ES256", "RS256"])
both = pytest.mark.parametrize("algorithm", ["ES256", "RS256"])


def public(key: Any) -> Any:
    return serialization.load_pem_public_key(key.as_pem(private=False))


def ours(token: str, algorithm: str, key: Any = None) -> bool:
    """Whether our own check takes the signature; anything but ValueError is a defect."""
    try:
        signed, _, signature = token.rpartition(".")
        raw_signature.check(
            signed.encode(),
            base64url.decode(signature),
            public_key=public(key or KEYS[algorithm]),
            algorithm=algorithm,
        )
    except ValueError:
        return False
    return True


def theirs(token: str, algorithm: str, key: Any = None) -> bool:
    """Whether joserfc takes it."""
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token, key or KEYS[algorithm], algorithms=[algorithm], registry=registry)
    except (JoseError, ValueError):
        return False
    return True


def made(algorithm: str, payload: bytes = b'{"sub":"user-1"}') -> tuple[str, bytes]:
    """Return a good token's signing input and signature."""
    token = compact({"alg": algorithm, "typ": "at+jwt"}, payload, SIGN[algorithm])
    signed, _, signature = token.rpartition(".")
    return signed, urlsafe_b64decode(signature + "=" * (-len(signature) % 4))


def agreed(signed: str, signature: bytes, algorithm: str, key: Any = None) -> bool:
    """Return the verdict that both give."""
    token = f"{signed}.{b64url(signature)}"
    verdict = ours(token, algorithm, key)
    assert verdict is theirs(token, algorithm, key)
    return verdict


class Signed:
    """A key that signs with these numbers, whatever they are."""

    def __init__(self, r: int, s: int) -> None:
        self._numbers = r, s

    def sign(self, _message: bytes, _algorithm: object) -> bytes:
        return encode_dss_signature(*self._numbers)


# --- any of them -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=200), algorithm=ALGORITHMS)
def test_a_good_signature_is_good_for_both(payload: bytes, algorithm: str) -> None:
    assert agreed(*made(algorithm, payload), algorithm)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), algorithm=ALGORITHMS)
def test_a_flipped_bit_breaks_it_for_both(data: st.DataObject, algorithm: str) -> None:
    """SEC-20: in the signature, or in what was signed."""
    signed, signature = made(algorithm)
    at = data.draw(st.integers(0, len(signature) * 8 - 1))
    flipped = bytearray(signature)
    flipped[at // 8] ^= 1 << at % 8
    assert not agreed(signed, bytes(flipped), algorithm)
    place = data.draw(st.integers(signed.index(".") + 1, len(signed) - 1))
    changed = signed[:place] + ("A" if signed[place] != "A" else "B") + signed[place + 1 :]
    assert not agreed(changed, signature, algorithm)


@settings(max_examples=200, deadline=None)
@given(signature=st.binary(max_size=300), algorithm=ALGORITHMS)
def test_any_bytes_are_bad_for_both(signature: bytes, algorithm: str) -> None:
    """SEC-20 SEC-76: never another error than "does not hold"."""
    assert not agreed(made(algorithm)[0], signature, algorithm)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), algorithm=ALGORITHMS)
def test_a_signature_cut_or_padded_is_bad_for_both(data: st.DataObject, algorithm: str) -> None:
    """SEC-27: leading and trailing bytes, zero bytes above all."""
    signed, signature = made(algorithm)
    cut = data.draw(st.integers(1, len(signature)))
    more = data.draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0", b"\0\0", b"\0" * 32]))
    for changed in (signature[:-cut], signature[cut:], signature + more, more + signature):
        assert not agreed(signed, changed, algorithm)


@settings(max_examples=200, deadline=None)
@given(r=st.integers(0, 2**256 - 1), s=st.integers(0, 2**256 - 1))
def test_any_two_numbers_are_bad_for_both(r: int, s: int) -> None:
    assert not agreed(made("ES256")[0], r.to_bytes(32, "big") + s.to_bytes(32, "big"), "ES256")


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=200), algorithm=ALGORITHMS)
def test_signed_tokens_are_valid_for_both(payload: bytes, algorithm: str) -> None:
    signed = f"{b64url(json_bytes({'alg': algorithm, 'n': len(payload)}))}.{b64url(payload or b'{}')}"
    signature = raw_signature.sign(signed.encode(), KEYS[algorithm].private_key, algorithm)
    assert theirs(f"{signed}.{b64url(signature)}", algorithm)
    raw_signature.check(signed.encode(), signature, public_key=public(KEYS[algorithm]), algorithm=algorithm)


@settings(max_examples=300, deadline=None)
@given(r=st.integers(1, 2**256 - 1), s=st.integers(1, 2**256 - 1), less=st.integers(0, 255))
def test_any_two_numbers_are_written_in_32_bytes_each(r: int, s: int, less: int) -> None:
    """RFC 7518 section 3.4: the form that the key writes is longer for a high first bit, and shorter for small ones."""
    r = max(1, r >> less)
    assert raw_signature.sign(b"", Signed(r, s), "ES256") == r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert raw_signature.sign(b"", Signed(s, r), "ES256") == s.to_bytes(32, "big") + r.to_bytes(32, "big")


# --- the edges -------------------------------------------------------------------------------------------------------


@both
def test_another_key_is_another_signer(algorithm: str) -> None:
    assert not agreed(*made(algorithm), algorithm, OTHERS[algorithm])


def test_numbers_at_the_edges_are_bad_for_both() -> None:
    """SEC-20: zero (CVE-2022-21449), the order of the curve, and what lies beyond it."""
    signed, signature = made("ES256")
    good_r, good_s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    edges = (0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1)
    for r, s in [(r, s) for r in edges for s in edges] + [(good_r, s) for s in edges] + [(r, good_s) for r in edges]:
        assert not agreed(signed, r.to_bytes(32, "big") + s.to_bytes(32, "big"), "ES256"), (r, s)
    assert agreed(signed, signature, "ES256")


def test_the_other_half_of_a_signature_is_the_same_for_both() -> None:
    """RFC 7518 section 3.4 takes n - s as well as s: a signature is not a name for a token, and none is used as one."""
    signed, signature = made("ES256")
    s = ORDER - int.from_bytes(signature[32:], "big")
    assert agreed(signed, signature[:32] + s.to_bytes(32, "big"), "ES256")


def test_halves_that_begin_with_zeros_keep_them() -> None:
    """RFC 7518 section 3.4: 32 bytes each, whatever the numbers are; without the zeros it is refused."""
    found = 0
    for number in range(2000):
        signed, signature = made("ES256", b"%d" % number)
        if signature[0] == 0 or signature[32] == 0:
            assert agreed(signed, signature, "ES256")
            assert not agreed(signed, signature.lstrip(b"\0") if signature[0] == 0 else signature[:-1], "ES256")
            found += 1
            if found == 3:
                return
    pytest.fail("no such signature in 2000")


@pytest.mark.parametrize("r", [1, 0x7F, 0x80, 0xFF, 0x100, 2**247, 2**248 - 1, 2**255 - 1, 2**255, ORDER - 1])
@pytest.mark.parametrize("s", [1, 0x80, 2**255, ORDER - 1])
def test_numbers_of_every_length_are_written_in_32_bytes(r: int, s: int) -> None:
    """RFC 7518 section 3.4: as the library writes them that goes through two integers."""
    assert raw_signature.sign(b"", Signed(r, s), "ES256") == r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_der_is_not_jose() -> None:
    """RFC 7518 section 3.4: the form of X.509 is refused."""
    signed, _ = made("ES256")
    private = serialization.load_pem_private_key(KEYS["ES256"].as_pem(private=True), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert not agreed(signed, private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())), "ES256")


def test_another_hash_or_padding_is_bad_for_both() -> None:
    """SEC-20: RS512 and PS256 with the very key of RS256."""
    signed, _ = made("RS256")
    private = serialization.load_pem_private_key(KEYS["RS256"].as_pem(private=True), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for how, digest in ((padding.PKCS1v15(), hashes.SHA512()), (pss, hashes.SHA256())):
        assert not agreed(signed, private.sign(signed.encode(), how, digest), "RS256")


@both
def test_no_signature_at_all_is_bad_for_both(algorithm: str) -> None:
    assert not agreed(made(algorithm)[0], b"", algorithm)
