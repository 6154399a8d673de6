"""Texts that are no token, and tokens that parsers could read differently (RFC 8725 section 3.11; SEC-26 to SEC-28)."""

import json
from collections.abc import Callable
from typing import Any

from idp_client.testing.forge import Forge
from idp_client.testing.signing import base64url, json_bytes

Make = Callable[[Forge], str]

_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _text(text: str) -> Make:
    return lambda _: text


def _header(**changes: Any) -> Make:
    return lambda forge: forge.token(header=forge.header(**changes))


def _twice(name: str, value: object) -> Make:
    """Write a claim a second time, in front."""

    def make(forge: Forge) -> str:
        first = f'{{"{name}":{json.dumps(value)},'.encode()
        return forge.token(claims=first + json_bytes(forge.claims())[1:])

    return make


def _kid_twice(forge: Forge) -> str:
    return forge.token(header=b'{"kid":"other",' + json_bytes(forge.header())[1:])


def _not_canonical_payload(forge: Forge) -> str:
    """Sign a payload whose base64url has unused bits that are set (RFC 4648 section 3.5)."""
    raw = json_bytes(forge.claims())
    payload = base64url(raw if len(raw) % 3 else raw + b" ")
    return _signed(forge, base64url(json_bytes(forge.header())), _other_spelling(payload))


def _not_canonical_signature(forge: Forge) -> str:
    header, payload, signature = forge.parts()
    return f"{header}.{payload}.{_other_spelling(signature)}"


def _padded_payload(forge: Forge) -> str:
    header, payload, _ = forge.parts()
    return _signed(forge, header, payload + "=" * (-len(payload) % 4 or 4))


def _nested(forge: Forge) -> str:
    return forge.token(header=forge.header(cty="JWT"), claims=forge.token().encode())


def _deep(forge: Forge) -> str:
    return forge.token(claims=b'{"a":' + b"[" * 100 + b"]" * 100 + b"," + json_bytes(forge.claims())[1:])


def _other_spelling(part: str) -> str:
    return part[:-1] + _BASE64URL[_BASE64URL.index(part[-1]) + 1]


def _signed(forge: Forge, header: str, payload: str) -> str:
    return f"{header}.{payload}.{base64url(forge.key.sign(f'{header}.{payload}'.encode()))}"


KINDS: dict[str, Make] = {
    "not-a-token": _text("rubbish"),
    "only-dots": _text(".."),
    "five-parts": lambda forge: forge.token() + ".AAAA.AAAA",
    "two-parts": lambda forge: ".".join(forge.parts()[:2]),
    "header-is-not-json": lambda forge: forge.token(header=b"rubbish"),
    "header-is-a-list": lambda forge: forge.token(header=b"[]"),
    "payload-is-not-json": lambda forge: forge.token(claims=b"rubbish"),
    "payload-is-null": lambda forge: forge.token(claims=b"null"),
    "payload-is-not-utf-8": lambda forge: forge.token(claims=b'{"x":"\xff",' + json_bytes(forge.claims())[1:]),
    "text-after-the-payload": lambda forge: forge.token(claims=json_bytes(forge.claims()) + b"{}"),
    "crit-in-header": _header(crit=["exp"], exp=1),
    "b64-in-header": _header(b64=False, crit=["b64"]),
    "zip-in-header": _header(zip="DEF"),
    "enc-in-header": _header(enc="A256GCM"),
    "token-in-a-token": _nested,
    "kid-twice": _kid_twice,
    "subject-twice": _twice("sub", "root"),
    "expiry-twice": _twice("exp", 1),
    "expiry-is-nan": lambda forge: forge.token(claims=json_bytes(forge.claims(exp="X")).replace(b'"X"', b"NaN")),
    "expiry-is-infinite": lambda forge: forge.token(claims=json_bytes(forge.claims(exp="X")).replace(b'"X"', b"1e999")),
    "payload-not-canonical": _not_canonical_payload,
    "signature-not-canonical": _not_canonical_signature,
    "payload-padded": _padded_payload,
    "signature-padded": lambda forge: forge.token() + "==",
    "deeply-nested": _deep,
    "oversized": lambda forge: forge.token(claims=forge.claims(padding="x" * 10_000)),
    "oversized-text": _text("x" * 65_536),
}
