"""Measures how long `idp-client` takes to verify an access token, compared with the signature alone.

    .venv/bin/python bench/client_verify.py

Prints the times of an uncached token (at most 1.2 times the raw ECDSA verification) and of a cached one (below 5 µs).
Each token is measured in all three ways; the medians of the fastest round are reported.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from statistics import median
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64decode

from idp_client import JwksCache, OfflineVerifier

ISSUER = "https://id.example.com"
ROUNDS = 20
TOKENS = 200  # a round
_ECDSA = ec.ECDSA(hashes.SHA256())


def new_token(key: ECKey, number: int) -> str:
    """Return a token like those of the service, about 700 characters."""
    now = int(time.time())
    user = f"01990c7e-0000-7000-8000-{number:012d}"
    claims = {
        "iat": now,
        "exp": now + 1800,
        "jti": f"01990c7e-7f3b-7c1e-8a54-{number:012d}",
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": user,
        "uid": user,
        "client_id": "idp",
        "scope": "openid profile email",
        "email": f"person-{number}@example.com",
        "email_verified": True,
    }
    header = {"alg": "ES256", "kid": key.thumbprint(), "typ": "at+jwt"}
    return jwt.encode(header, claims, key, algorithms=["ES256"])


@contextmanager
def published(key: ECKey) -> Iterator[str]:
    """Serve the public key as a JWKS, and yield its URL."""
    document = msgspec.json.encode({"keys": [{**key.as_dict(private=False), "kid": key.thumbprint()}]})

    class Jwks(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_args: Any) -> None:
            """Disable the log."""

    server = HTTPServer(("127.0.0.1", 0), Jwks)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
    finally:
        server.shutdown()
        server.server_close()


def raw_parts(token: str) -> tuple[bytes, bytes]:
    """Return the DER signature and the signing input, as `cryptography` expects them."""
    signing_input, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature.encode())
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    return der, signing_input.encode()


async def measure(verify_raw: Callable[..., None], verifier: OfflineVerifier, tokens: list[str]) -> list[float]:
    """Return the median times (µs) of a token: signature only, uncached, cached."""
    spent: list[list[float]] = [[], [], []]
    for token, (der, text) in [(token, raw_parts(token)) for token in tokens]:
        marks = [time.perf_counter()]
        verify_raw(der, text, _ECDSA)
        marks.append(time.perf_counter())
        await verifier.verify(token)
        marks.append(time.perf_counter())
        await verifier.verify(token)
        marks.append(time.perf_counter())
        for column, (begin, end) in zip(spent, pairwise(marks), strict=True):
            column.append((end - begin) * 1e6)
    return [median(column) for column in spent]


async def main() -> None:
    key = ECKey.generate_key("P-256", private=True)
    tokens = [new_token(key, number) for number in range(ROUNDS * TOKENS)]
    with published(key) as url:
        verifier = OfflineVerifier(ISSUER, keys=JwksCache(url))
        await verifier.verify(new_token(key, len(tokens)))  # fetches the keys
        rounds = [tokens[start : start + TOKENS] for start in range(0, len(tokens), TOKENS)]
        raw, uncached, cached = min([await measure(key.public_key.verify, verifier, part) for part in rounds], key=sum)
    print(f"raw ECDSA verification {raw:8.1f} µs   1.00 of raw")
    print(f"an uncached token      {uncached:8.1f} µs   {uncached / raw:.2f} of raw (at most 1.20)")
    print(f"a cached token         {cached:8.1f} µs   {cached / raw:.2f} of raw (below 5 µs)")


if __name__ == "__main__":
    asyncio.run(main())
