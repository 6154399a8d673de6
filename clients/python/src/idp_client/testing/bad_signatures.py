"""Tokens with a bad signature, key or algorithm (RFC 8725 sections 3.1 to 3.3; SEC-20 to SEC-22)."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from idp_client.testing.forge import Forge
from idp_client.testing.signing import base64url, json_bytes

Make = Callable[[Forge], str]


def _unsigned(alg: str) -> Make:
    return lambda forge: forge.signed_by(lambda _: b"", forge.header(alg=alg))


def _shared_secret(secret: Callable[[Forge], bytes]) -> Make:
    def make(forge: Forge) -> str:
        key = secret(forge)
        return forge.signed_by(lambda text: hmac.digest(key, text, hashlib.sha256), forge.header(alg="HS256"))

    return make


def _another_algorithm(alg: str) -> Make:
    return lambda forge: forge.token(header=forge.header(alg=alg))


def _another_key(**header: Any) -> Make:
    return lambda forge: forge.token(header=forge.header(alg="ES256", **header), key=forge.another_key)


def _key_in_header(forge: Forge) -> str:
    key = forge.another_key
    return forge.token(header=forge.header(alg="ES256", kid=key.kid, jwk=key.jwk), key=key)


def _tampered_payload(forge: Forge) -> str:
    header, _, signature = forge.parts()
    return f"{header}.{base64url(json_bytes(forge.claims(roles=['admin'])))}.{signature}"


def _tampered_signature(forge: Forge) -> str:
    header, payload, signature = forge.parts()
    return f"{header}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _der_signature(forge: Forge) -> str:
    def sign(signing_input: bytes) -> bytes:
        raw = forge.key.sign(signing_input)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    return forge.signed_by(sign, forge.header())


KINDS: dict[str, Make] = {
    "unsigned-none": _unsigned("none"),
    "unsigned-None": _unsigned("None"),
    "unsigned-NONE": _unsigned("NONE"),
    "unsigned-nOnE": _unsigned("nOnE"),
    "unsigned-without-alg": lambda forge: forge.signed_by(lambda _: b"", forge.header(alg=None)),
    "unsigned-ES256": lambda forge: forge.signed_by(lambda _: b"", forge.header()),
    "hs256-public-key-as-secret": _shared_secret(lambda forge: json.dumps(forge.key.jwk).encode()),
    "hs256-coordinate-as-secret": _shared_secret(lambda forge: (forge.key.jwk.get("x") or forge.key.jwk["n"]).encode()),
    "hs256-kid-as-secret": _shared_secret(lambda forge: forge.key.kid.encode()),
    "hs256-empty-secret": _shared_secret(lambda _: b""),
    "alg-PS256": _another_algorithm("PS256"),
    "alg-ES384": _another_algorithm("ES384"),
    "alg-EdDSA": _another_algorithm("EdDSA"),
    "alg-lower-case": lambda forge: forge.token(header=forge.header(alg=forge.key.algorithm.lower())),
    "alg-of-another-key-type": lambda forge: forge.token(
        header=forge.header(alg="RS256" if forge.key.algorithm == "ES256" else "ES256")
    ),
    "another-key-under-our-kid": _another_key(),
    "unknown-kid": _another_key(kid="unknown"),
    "without-kid": lambda forge: forge.token(header=forge.header(kid=None)),
    "kid-is-a-path": _another_key(kid="../../../../dev/null"),
    "kid-is-a-number": lambda forge: forge.token(header=forge.header(kid=0)),
    "jwk-in-header": _key_in_header,
    "jku-in-header": _another_key(kid="elsewhere", jku="https://attacker.invalid/jwks.json"),
    "x5u-in-header": _another_key(kid="elsewhere", x5u="https://attacker.invalid/x.pem"),
    "tampered-payload": _tampered_payload,
    "tampered-signature": _tampered_signature,
    "signature-of-zeros": lambda forge: forge.signed_by(lambda _: bytes(64), forge.header()),
    "signature-in-der": _der_signature,
}
