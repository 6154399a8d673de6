"""The parser and verifier of `idp-client` compared with joserfc: never more lenient, the same for valid tokens."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from client.client_support import Issuer
from idp_client.compact import Parser
from idp_client.json_object import Malformed, read_object
from idp_client.keys import BadSignature, from_jwk
from signing.forgery import b64url, compact, es256, rs256

EC, RSA = ECKey.generate_key("P-256", private=True), RSAKey.generate_key(2048, private=True)
SIGN = {"ES256": es256(EC), "RS256": rs256(RSA)}
KEYS: dict[str, Any] = {"ES256": EC, "RS256": RSA}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ "
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def ours(token: str, algorithm: str) -> dict[str, Any] | None:
    """Return the claims if our own code takes the token."""
    try:
        parsed = Parser().parse(token.encode("utf-8", "surrogatepass"))
        if parsed.header.alg != algorithm:
            return None
        from_jwk(KEYS[algorithm].as_dict(private=False)).check(parsed.signing_input, parsed.signature)
        return read_object(parsed.payload)
    except (Malformed, BadSignature):
        return None


def theirs(token: str, algorithm: str) -> dict[str, Any] | None:
    """Return the claims if joserfc takes it."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        return dict(jwt.decode(token, KEYS[algorithm], algorithms=[algorithm], registry=registry).claims)
    except (JoseError, ValueError, RecursionError):
        return None


@settings(max_examples=150, deadline=None)
@given(claims=st.dictionaries(st.text(max_size=8), JSON, max_size=6), algorithm=st.sampled_from(["ES256", "RS256"]))
def test_any_claims_that_are_signed_read_the_same(claims: dict[str, Any], algorithm: str) -> None:
    """SEC-27: the fast way and joserfc read the same members out of the same bytes."""
    token = jwt.encode({"alg": algorithm, "typ": "at+jwt"}, claims, KEYS[algorithm], algorithms=[algorithm])
    read = ours(token, algorithm)
    if read is None:  # half a surrogate pair, a number without end: JSON that not every reader reads
        assert "\\ud" in json.dumps(claims) or "Infinity" in json.dumps(claims)
    else:
        assert read == theirs(token, algorithm)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), algorithm=st.sampled_from(["ES256", "RS256"]))
def test_a_changed_token_is_never_taken_where_joserfc_refuses_it(data: st.DataObject, algorithm: str) -> None:
    """SEC-20 SEC-27: any character changed, added or left out."""
    good = compact({"alg": algorithm, "typ": "at+jwt"}, {"sub": "user-1", "n": 1}, SIGN[algorithm])
    place = data.draw(st.integers(0, len(good) - 1))
    kept = data.draw(st.sampled_from([place, place + 1]))
    token = good[:place] + data.draw(st.text(ALPHABET, max_size=2)) + good[kept:]
    if ours(token, algorithm) is not None:
        assert token == good
        assert theirs(token, algorithm) is not None


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_payload_that_is_taken_is_an_object_that_json_reads_the_same(payload: bytes) -> None:
    """SEC-27: whatever stands there, duplicates and strange bytes included."""
    read = ours(compact({"alg": "ES256"}, payload, SIGN["ES256"]), "ES256")
    if read is not None:
        assert read == json.loads(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":1}',
        b'{"a":1, "a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"\\u0061":1,"a":1}',
        b'{"a":1,"b":2,"a":1}',
    ],
)
def test_a_member_that_stands_twice_is_refused_on_both_ways(payload: bytes) -> None:
    """SEC-27: where readers differ about which one counts, there is no one reading."""
    assert ours(compact({"alg": "ES256"}, payload, SIGN["ES256"]), "ES256") is None
    assert ours(compact({"alg": "ES256"}, payload.replace(b":", b": "), SIGN["ES256"]), "ES256") is None


@given(raw=st.binary(max_size=40))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    """SEC-27: of all the spellings a lenient reader takes, exactly the canonical one (RFC 4648 section 3.5)."""
    good = b64url(raw)
    parser = Parser()
    for third in {good, good + "=", good + "==", good + "A", good[:-1], *(good[:-1] + sign for sign in ALPHABET)}:
        try:
            parsed = parser.parse(f"{b64url(b'{}')}.{b64url(b'{}')}.{third}".encode())
        except Malformed:
            continue
        assert b64url(parsed.signature) == third


async def test_a_whole_verification_agrees_too(issuer: Issuer) -> None:
    """The same token through the verifier, and through joserfc with the published key."""
    token = issuer.token(key=issuer.key)
    claims = (await issuer.verifier().verify(token)).claims
    public = ECKey.import_key(issuer.keys[issuer.key.thumbprint()])
    assert claims == jwt.decode(token, public, algorithms=["ES256"]).claims
