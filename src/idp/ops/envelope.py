"""The outermost ASGI layer: request id, security headers, metrics and the access log.

It wraps the framework, which runs middleware only after routing, so that 404, 405 and 500 are covered too.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from msgspec import Struct
from uuid_utils import uuid7

from idp import errors, tracing
from idp.ops import metrics, open_cors, problems
from idp.ops.accept import wants_page
from idp.ops.access_log import Line, access_log
from idp.ops.http_protocol import answer_at_once, has_arrived
from idp.ops.logging import describe, request_id
from idp.ops.metrics_access import METRICS_PATHS, MetricsAccess
from idp.ops.origins import AllowedOrigins, refusal
from idp.ops.paths import is_served
from idp.ops.public_prefix import PublicPrefix
from idp.ops.security_headers import HSTS, SECURITY_HEADERS
from idp.settings_schema import Server
from idp.tracing import Tracing

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

Headers = tuple[tuple[bytes, bytes], ...]
Observer = Callable[[HTTPScope, int, float], None]  # the request, its status (0: none was sent), seconds
JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
_UNKNOWN_PATH = "/-"  # nothing is served there


class FastRoute(Struct, frozen=True):
    """A route that is answered without the framework.

    Attributes:
        body: returns the body of a 200; raises `UseFramework`, or the error to answer.
        headers: of this 200, besides those of every answer.
    """

    body: Callable[[HTTPScope, Receive], Awaitable[bytes]]
    headers: Headers = (JSON, NO_STORE)


class UseFramework(Exception):
    """A fast route leaves a request to the framework.

    Args:
        message: the part of the body that was read, to be replayed.
    """

    def __init__(self, message: Any = None) -> None:
        self.message = message


class Envelope:
    """Wraps an ASGI application.

    Args:
        app: the framework.
        server: the bounds: more header bytes are answered 431, a body that arrives too slowly 408.
        fast_routes: routes that are tried first, by method and path.
        origins: which web pages may call; HSTS (RFC 6797) is sent if the public URL is https.
        metrics_access: knows the port that serves metrics only.
        prefix: the path of the public URL, None if it has none.
        open_paths: what pages of every origin may call, without cookies.
        observe: called after each request, for `idp dev`.
        tracing: None for no traces.
    """

    def __init__(
        self,
        app: ASGIApp,
        server: Server,
        *,
        fast_routes: Mapping[tuple[str, str], FastRoute],
        origins: AllowedOrigins,
        metrics_access: MetricsAccess,
        prefix: PublicPrefix | None,
        open_paths: frozenset[str] = frozenset(),
        observe: Observer | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._serve = self._answer if tracing is None else tracing.wrap(self._answer)
        self._origins = origins
        self._metrics_access = metrics_access
        self._prefix = prefix
        self._open_paths = open_paths
        self._observe = observe
        self._headers = (*SECURITY_HEADERS, HSTS) if origins.own.startswith("https://") else SECURITY_HEADERS
        self._fast_routes = {
            where: (route, _Head((*route.headers, *self._headers))) for where, route in fast_routes.items()
        }
        self._max_header_bytes = server.max_header_bytes
        self._body_timeout = server.body_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        if self._prefix is None:
            await self._serve(scope, receive, send)
            return
        with self._prefix.applied(scope):
            await self._serve(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, self._headers, receive, send, self._body_timeout)
        scope["request_id"] = exchange.request_id  # type: ignore[typeddict-unknown-key]
        token = request_id.set(exchange.request_id)
        try:
            if scope["method"] == "HEAD":
                # As GET (RFC 9110 section 9.3.2). The server keeps its own scope, and so leaves the body out.
                scope = exchange.as_get()
            fast_routes = self._fast_routes.get((scope["method"], scope["path"]))
            raw_path = scope.get("raw_path") or scope["path"].encode()
            if exchange.header_bytes > self._max_header_bytes:
                await exchange.refuse(errors.HeadersTooLarge())
            elif self._metrics_access.is_own_listener(scope) and scope["path"] not in METRICS_PATHS:
                await exchange.refuse(errors.NotFound())
            elif fast_routes is not None and len(raw_path) == len(scope["path"]):
                await self._try(*fast_routes, scope, exchange)
            elif not is_served(scope["path"], raw_path):
                if not wants_page(dict(scope["headers"]).get(b"accept", b"").decode("latin-1")):
                    await exchange.refuse(errors.NotFound())
                else:  # the framework has the page that says so
                    unknown: HTTPScope = {**scope, "path": _UNKNOWN_PATH, "raw_path": _UNKNOWN_PATH.encode()}
                    await self._app(unknown, exchange.receive, exchange.send)
            elif scope["path"] in self._open_paths and exchange.opens_to_every_origin():
                await exchange.answer_preflight()
            elif scope["method"] == "OPTIONS" and (refused := self._refused_preflight(scope)):
                await exchange.refuse(refused)
            else:
                await self._app(scope, exchange.receive, exchange.send)
            seconds = exchange.finish()
            if self._observe is not None:
                self._observe(scope, exchange.status, seconds)
        finally:
            request_id.reset(token)

    def _refused_preflight(self, scope: HTTPScope) -> errors.IdpError | None:
        """Return the error for a CORS preflight of a foreign origin (Fetch section 3.2.2), None if it is allowed."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or b"access-control-request-method" not in headers or self._origins.allows(origin):
            return None
        return refusal(origin)

    async def _try(self, route: FastRoute, head: "_Head", scope: HTTPScope, exchange: "_Exchange") -> None:
        """Answer a fast route, or pass the request to the framework."""
        try:
            body = await route.body(scope, exchange.receive)
        except UseFramework as fallback:
            if fallback.message is not None:
                exchange.replayed = fallback.message
            if scope["path"] in self._open_paths:
                exchange.opens_to_every_origin()
            await self._app(scope, exchange.receive, exchange.send)
        except errors.IdpError as error:
            scope["path_template"] = scope["path"]
            await exchange.refuse(error)
        except Exception as error:  # noqa: BLE001  answered as the framework does
            scope["path_template"] = scope["path"]
            problems.log.error("unexpected error", endpoint=scope["path"], **describe(error))
            await exchange.refuse(errors.InternalError())
        else:
            scope["path_template"] = scope["path"]
            await exchange.answer(body, head)


class _Head:
    """The constant headers of a fast route, as pairs and as encoded lines."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.lines = b"".join(b"%b: %b\r\n" % header for header in headers)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        scope: HTTPScope,
        headers: Headers,
        receive: Receive,
        send: Send,
        body_timeout: float,
    ) -> None:
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._until = self._started + body_timeout
        self._body_complete = False
        self.replayed: Any = None
        self.status = 0
        self.is_head = self._head_ended = False
        self.request_id, self.header_bytes, cookie_lines = _read_head(scope["headers"])
        if cookie_lines > 1:
            scope["headers"] = _join_cookies(scope["headers"])

    def as_get(self) -> HTTPScope:
        """Return the scope of the same request with GET, and use it from now on."""
        self.is_head = True
        self._scope = {**self._scope, "method": "GET"}
        return self._scope

    def opens_to_every_origin(self) -> bool:
        """Let pages of every origin read the response; return whether the request is a preflight for that."""
        names = {name for name, _ in self._scope["headers"]}
        if b"origin" in names:
            self._headers = (*self._headers, *open_cors.RESPONSE)
        return self._scope["method"] == "OPTIONS" and b"access-control-request-method" in names

    async def answer_preflight(self) -> None:
        headers = [*open_cors.PREFLIGHT, (b"content-length", b"0")]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive(self) -> Any:
        """Return the client's next message.

        Raises:
            RequestTimeout: the body took too long.
            BadRequest: the client disconnected.
        """
        if self.replayed is not None:
            message, self.replayed = self.replayed, None
            return message
        if self._body_complete:
            return await self._receive()
        if has_arrived(self._receive):
            self._body_complete = True
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.perf_counter())):
                message = await self._receive()
        except TimeoutError:
            raise errors.RequestTimeout from None
        if message["type"] == "http.disconnect":
            raise errors.BadRequest("The client hung up in the middle of the body.")
        self._body_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = _sane_cors(list(message["headers"]))
            present = {name.lower() for name, _ in message["headers"]}
            ours = [*self._headers, NO_STORE, (b"x-request-id", self.request_id.encode())]
            message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in present)]
        elif self.is_head:  # ends here, also for a stream without end
            if self._head_ended:
                return
            self._head_ended, message = True, {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def answer(self, body: bytes, head: _Head) -> None:
        """Send a 200."""
        self.status = 200
        own_head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (head.lines, len(body), self.request_id.encode())
        if not self.is_head and answer_at_once(self._send, own_head, body):
            return
        own = ((b"content-length", b"%d" % len(body)), (b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": (*head.headers, *own)})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, error: errors.IdpError) -> None:
        path = self._scope["path"]
        body = problems.document(error, path=path, request_id=self.request_id)
        self._scope["error"] = error  # type: ignore[typeddict-unknown-key]
        headers = [
            (b"content-type", problems.media_type(path).encode()),
            NO_STORE,
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def finish(self) -> float:
        """Count and log the request, and return its duration in seconds."""
        scope, seconds = self._scope, time.perf_counter() - self._started
        endpoint = str(scope.get("path_template") or "(none)")
        method = "HEAD" if self.is_head else scope["method"] if scope["method"] in _METHODS else "(other)"
        metrics.observe_request(method=method, endpoint=endpoint, status=self.status, seconds=seconds)
        client, user = scope["client"], scope.get("user")
        if (trace := tracing.current()) is not None:
            trace.describe(route=endpoint, status=self.status)
        access_log.write(
            Line(
                method,
                endpoint,
                self.status,
                round(seconds * 1000, 2),
                self.request_id,
                client[0] if client else None,
                getattr(user, "actor", None),
                getattr(scope.get("error"), "code", None),
                trace.trace_id if trace is not None else None,
                trace.span_id if trace is not None else None,
            )
        )
        return seconds


def _sane_cors(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Remove `Access-Control-Allow-Credentials` unless an origin is named (SEC-78)."""
    origin = next((value for name, value in headers if name.lower() == b"access-control-allow-origin"), b"*")
    if origin != b"*":
        return headers
    return [(name, value) for name, value in headers if name.lower() != b"access-control-allow-credentials"]


def _read_head(headers: Any) -> tuple[str, int, int]:
    """Return the request id, the size of the headers in bytes, and the number of Cookie lines.

    The id is taken from X-Request-Id if it is safe to repeat.
    """
    size, request_id, cookie_lines = 0, "", 0
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"x-request-id" and _REQUEST_ID.match(given := value.decode("latin-1")):
            request_id = given
        elif name == b"cookie":
            cookie_lines += 1
    return request_id or str(uuid7()), size, cookie_lines


def _join_cookies(headers: Any) -> list[tuple[bytes, bytes]]:
    """Join Cookie lines (RFC 9113 section 8.2.3), which HTTP/2 proxies may send separately."""
    joined = b"; ".join(value for name, value in headers if name == b"cookie")
    return [*((name, value) for name, value in headers if name != b"cookie"), (b"cookie", joined)]
