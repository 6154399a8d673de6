"""A second issuer on a socket: serves discovery and a JWKS, signs tokens, and fails on request."""

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

AUDIENCE = "the-client"
Answer = Callable[["Issuer", str], Awaitable[bytes]]
_KEYS: dict[str, RSAKey | ECKey | OKPKey] = {}


def key_of(kid: str) -> RSAKey | ECKey | OKPKey:
    """Return the key of this id, made once: `rsa…`, `ec…` or `ed…`."""
    if kid not in _KEYS:
        parameters = {"kid": kid, "use": "sig"}
        if kid.startswith("rsa"):
            _KEYS[kid] = RSAKey.generate_key(2048, parameters)
        elif kid.startswith("ec"):
            _KEYS[kid] = ECKey.generate_key("P-256", parameters)
        else:
            _KEYS[kid] = OKPKey.generate_key("Ed25519", parameters)
    return _KEYS[kid]


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


async def well(issuer: "Issuer", path: str) -> bytes:
    """Answer as an issuer should."""
    if path == "/.well-known/openid-configuration":
        document = {"issuer": issuer.named or issuer.url, "jwks_uri": f"{issuer.url}/keys"}
        return http(json.dumps(document).encode())
    if path == "/keys":
        keys = [*(key_of(kid).as_dict(private=False) for kid in issuer.kids), *issuer.further_keys]
        return http(json.dumps({"keys": keys}).encode(), more=issuer.headers)
    return http(b"{}", status="404 Not Found")


@dataclass
class Issuer:
    """The issuer.

    Attributes:
        kids: of the keys that it publishes.
        further_keys: other members of its JWKS.
        named: what its discovery document names instead of itself.
        answer: how it answers.
        asked: the paths that were asked for.
        heads: the requests, without bodies.
    """

    url: str = ""
    kids: list[str] = field(default_factory=lambda: ["rsa-1"])
    further_keys: list[dict[str, Any]] = field(default_factory=list)
    named: str | None = None
    headers: str = ""
    answer: Answer = well
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "subject-1", "iat": now, "exp": now + 300}
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(
        self, *, kid: str = "rsa-1", alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token; a claim of None is left out."""
        head = {"alg": alg, "kid": kid, "typ": "JWT", **(header or {})}
        registry = jwt.JWSRegistry(algorithms=[alg], strict_check_header=False)  # type: ignore[attr-defined]
        with warnings.catch_warnings(action="ignore", category=SecurityWarning):  # EdDSA has a newer name (RFC 9864)
            return jwt.encode(head, self.claims(**claims), key_of(kid), algorithms=[alg], registry=registry)


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """Run an issuer on loopback."""
    issuer = Issuer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            issuer.asked.append(path)
            issuer.heads.append(head.decode())
            writer.write(await issuer.answer(issuer, path))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield issuer
    finally:
        server.close()
