"""Measures how long the check of another issuer's token takes, compared with its signature alone and with our tokens.

    .venv/bin/python -m bench.foreign_tokens

Prints the check of a parsed token never seen before (raw RS256 verification is at least 0.85 of it), the same with
parsing, and `POST /auth/validate` of a token seen before (as fast as one of our own). Everything runs in this process;
the figures are medians of the fastest round.
"""

import asyncio
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import RSAKey

from bench.verdicts import Verdict
from idp.app import Application
from idp.cli.dev_process import build
from idp.db.migrate import upgrade
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load
from idp.settings_schema import OidcIssuer
from idp.signing.compact import parse
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import ForeignIssuer
from idp.signing.remote_jwks import RemoteJwks
from idp.users import service as users

AUDIENCE = "bench"
ROUNDS, TOKENS, REQUESTS = 15, 200, 1000
_PKCS1, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_REGISTRATION = {"email": "pat@example.com", "password": secrets.token_urlsafe(16), "name": "Pat Person"}
Row = tuple[str, float, float, str]


@contextmanager
def issuer(key: RSAKey) -> Iterator[str]:
    """Serve discovery and a JWKS, and yield the issuer's URL."""
    documents: dict[str, bytes] = {}

    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(documents[self.path])

        def log_message(self, *_args: Any) -> None:
            """Disable the log."""

    server = HTTPServer(("127.0.0.1", 0), Documents)
    url = f"http://127.0.0.1:{server.server_port}"
    discovery = {"issuer": url, "jwks_uri": f"{url}/jwks"}
    documents["/.well-known/openid-configuration"] = msgspec.json.encode(discovery)
    documents["/jwks"] = msgspec.json.encode({"keys": [{**key.as_dict(private=False), "kid": "1", "use": "sig"}]})
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


def new_token(key: RSAKey, url: str, number: int) -> str:
    """Return an access token with the usual claims of a provider, about 900 characters."""
    now = int(time.time())
    claims = {
        "iss": url,
        "aud": AUDIENCE,
        "sub": "subject",
        "iat": now,
        "exp": now + 3600,
        "jti": f"01990c7e-7f3b-7c1e-8a54-{number:012d}",
        "azp": "spa",
        "scope": "openid profile email",
        "email": "person@example.com",
        "email_verified": True,
        "groups": ["engineering", "reviewers"],
    }
    return jwt.encode({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims, key, algorithms=["RS256"])


async def measure_check(key: RSAKey, url: str) -> list[Row]:
    """Compare the signature alone with the check of signature and claims, and with parsing, too."""
    settings = OidcIssuer(issuer=url, audience=(AUDIENCE,))
    foreign = ForeignIssuer(settings, RemoteJwks(url, Fetcher(allow_loopback=True)))
    await foreign.verify(parse(new_token(key, url, 0)))  # fetches the keys
    rounds = []
    for start in range(ROUNDS):
        spent: tuple[list[float], ...] = ([], [], [])
        for token in [new_token(key, url, start * TOKENS + number) for number in range(TOKENS)]:
            known = parse(token)
            marks = [time.perf_counter()]
            key.public_key.verify(known.signature, known.signed, _PKCS1, _SHA256)
            marks.append(time.perf_counter())
            await foreign.verify(known)
            marks.append(time.perf_counter())
            await foreign.verify(parse(token))
            marks.append(time.perf_counter())
            for column, (begin, end) in zip(spent, pairwise(marks), strict=True):
                column.append((end - begin) * 1e6)
        rounds.append([median(column) for column in spent])
    raw, check, parsed = min(rounds, key=sum)
    return [
        ("never seen: raw RS256 verification, and the check", raw, check, f"{raw / check:.2f} (at least 0.85)"),
        ("the same with parsing", raw, parsed, f"{raw / parsed:.2f}"),
    ]


@asynccontextmanager
async def application(url: str, folder: Path) -> AsyncIterator[Application]:
    """Run the application without a server, on an embedded PostgreSQL, trusting the issuer."""
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    try:
        environ = {
            "DATABASE_URL": postgres.url,
            "AUTH_OIDC_ISSUER": url,
            "AUTH_OIDC_AUDIENCE": AUDIENCE,
            "IDP_SECRET_KEY": secrets.token_urlsafe(48),
        }
        app = build(load("development", environ=environ), quiet=True)
        await upgrade(app.core.database)
        async with app.core.database.transaction() as session:
            await users.ensure_roles(session)
        async with app.lifespan():
            yield app
    finally:
        postgres.stop()


async def call(app: Application, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the application, without a socket."""
    sent: list[Any] = []
    raw = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode()), (b"host", b"x")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]
    return dict(msgspec.json.decode(b"".join(message.get("body", b"") for message in sent)))


async def measure_seen(key: RSAKey, url: str) -> Row:
    """Compare validate of one of our access tokens with that of a foreign one, both seen before."""
    with TemporaryDirectory(prefix="idp-bench-") as folder:
        async with application(url, Path(folder)) as app:
            person = await call(app, "/auth/register", _REGISTRATION)
            tokens = [person["access_token"], new_token(key, url, 0)]
            for token in tokens:
                assert (await call(app, "/auth/validate", {"token": token}))["valid"]
            rounds = [[await _median(partial(_validate, app, token)) for token in tokens] for _ in range(ROUNDS)]
    local, foreign = min(rounds, key=sum)
    return "seen: validate of our token, and of a foreign one", local, foreign, f"{local / foreign:.2f} (about 1)"


async def _validate(app: Application, token: str) -> None:
    await call(app, "/auth/validate", {"token": token})


async def _median(request: Callable[[], Any]) -> float:
    spent = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        await request()
        spent.append((time.perf_counter() - began) * 1e6)
    return median(spent)


def measure() -> list[Verdict]:
    """Return the verdicts for the report."""
    check, _, seen = asyncio.run(_rows())
    of_check, of_seen = check[1] / check[2], seen[1] / seen[2]
    return [
        Verdict(
            "a foreign RS256 token never seen: raw verification, of the check", f"{of_check:.2f}", "at least 0.6",
            of_check >= 0.6,
        ),
        Verdict(
            "a foreign RS256 token seen before: validate, relative to one of ours", f"{of_seen:.2f}", "at least 0.9",
            of_seen >= 0.9,
        ),
    ]  # fmt: skip


async def _rows() -> list[Row]:
    warnings.simplefilter("ignore")
    key = RSAKey.generate_key(2048)
    with issuer(key) as url:
        return [*await measure_check(key, url), await measure_seen(key, url)]


async def main() -> None:
    rows = await _rows()
    for name, first, second, ratio in rows:
        print(f"{name:52} {first:7.1f} µs {second:7.1f} µs   {ratio}")


if __name__ == "__main__":
    asyncio.run(main())
