"""Servers for the tests of `idp-client`: an issuer, HTTP servers with given responses, an application server."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx2
import uvicorn
from joserfc.jwk import ECKey, RSAKey

from idp_client import JwksCache, OfflineVerifier
from signing.forgery import changed, compact, es256, json_bytes, rs256

ISSUER = "https://id.example.com"
JWKS_PATH = "/.well-known/jwks.json"


class Asked(NamedTuple):
    """A request that a server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What it answers; `wait` in seconds before it does."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


class Server:
    """A foreign HTTP server. `reply` may be changed while it runs; `asked` lists what came."""

    def __init__(self, reply: Callable[[Asked], Reply]) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self._http: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; after `stop`, on the same port again."""
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, dict(self.headers), body)
                owner.asked.append(asked)
                reply = owner.reply(asked)
                time.sleep(reply.wait)
                self.send_response(reply.status)
                for name, text in reply.headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def answering(reply: Callable[[Asked], Reply]) -> Iterator[Server]:
    """Run a server for the length of the block."""
    server = Server(reply)
    try:
        yield server
    finally:
        server.stop()


class Issuer:
    """An issuer that signs tokens and publishes keys. `keys` are those in the JWKS, by their `kid`."""

    def __init__(self) -> None:
        self.key: ECKey | RSAKey = ECKey.generate_key("P-256", private=True)
        self.keys: dict[str, dict[str, Any]] = {}
        self.publish(self.key)
        self.server = Server(lambda _: Reply(body=json_bytes({"keys": list(self.keys.values())})))

    @property
    def fetches(self) -> int:
        """How often the keys were fetched."""
        return len(self.server.asked)

    def publish(self, key: ECKey | RSAKey, **members: Any) -> str:
        """Put a key into the JWKS, and return its `kid`."""
        jwk = {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig"}
        self.keys[key.thumbprint()] = changed(jwk, members)
        return key.thumbprint()

    def token(self, *, key: ECKey | RSAKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is good but for what is given."""
        key = key or self.key
        rsa = isinstance(key, RSAKey)
        now = int(time.time())
        members = {
            "iat": now,
            "exp": now + 600,
            "jti": f"token-{time.perf_counter_ns()}",
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": "user-1",
            "uid": "user-1",
            "client_id": "idp",
            "scope": "openid read",
            "email": "pat@example.com",
            "email_verified": True,
        }
        standard = {"alg": "RS256" if rsa else "ES256", "kid": key.thumbprint(), "typ": "at+jwt"}
        sign = rs256(key) if isinstance(key, RSAKey) else es256(key)
        return compact(changed(standard, header or {}), changed(members, claims), sign)

    def cache(self, **settings: float) -> JwksCache:
        return JwksCache(self.server.url + JWKS_PATH, **settings)

    def verifier(self, keys: JwksCache | None = None, **settings: Any) -> OfflineVerifier:
        return OfflineVerifier(ISSUER, keys=keys or self.cache(), **settings)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an ASGI application on a socket, and talk to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        assert not task.done(), "the application did not start"
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
