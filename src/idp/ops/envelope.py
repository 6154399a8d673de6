"""The outermost ASGI layer: request id, security headers, metrics and the access log.

It wraps the framework, which runs middleware only after routing, so that 404, 405 and 500 are covered too.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from uuid_utils import uuid7

from idp import errors, tracing
from idp.ops import metrics, open_cors, problems
from idp.ops.accept import wants_page
from idp.ops.access_log import Line, access_log
from idp.ops.batch import PreparedAnswer
from idp.ops.fast_route import MAX_BODY_BYTES, NO_STORE, FastRoute, Headers, UseFramework
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

Observer = Callable[[HTTPScope, int, float], None]  # the request, its status (0: none was sent), seconds
_UNKNOWN_PATH = "/-"  # nothing is served there


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
        self._traces = tracing is not None
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

    def prepare(self, scope: HTTPScope, body: bytes, receive: Receive, send: Send) -> PreparedAnswer | ASGIApp:
        """Prepare the answer to a complete request of a fast route, without a task if nothing has to be waited for.

        Args:
            scope: of the request.
            body: the whole body.
            receive: uvicorn's.
            send: uvicorn's.

        Returns:
            The answer, or the application that has to answer the request.
        """
        if self._traces or len(body) > MAX_BODY_BYTES:
            return self
        if self._prefix is not None:
            scope = self._prefix.stripped(scope)
        found = self._fast_route(scope)
        if found is None or self._metrics_access.is_own_listener(scope):
            return self
        exchange = self._exchange(scope, receive, send)
        if exchange.header_bytes > self._max_header_bytes:
            return self
        route, head = found
        token = request_id.set(exchange.request_id)
        try:
            answer = route.answer(scope, body)
        except Exception as error:  # noqa: BLE001  answered as if it were raised in the task
            return self._continuation(exchange, head, _raise(error))
        finally:
            request_id.reset(token)
        continuation = self._continuation(exchange, head, answer)
        if not isinstance(answer, bytes):
            return continuation
        return PreparedAnswer(
            send=partial(exchange.answer_at_once, answer, head),
            finish=partial(self._finish, exchange),
            app=continuation,
        )

    def _continuation(self, exchange: "_Exchange", head: "_Head", answer: bytes | Awaitable[bytes]) -> ASGIApp:
        """Return the application that sends an answer, once it is there, and finishes the request."""

        async def answer_later(_scope: Scope, _receive: Receive, _send: Send) -> None:
            with nullcontext() if self._prefix is None else self._prefix.present():
                await self._during(exchange, self._try(answer, head, exchange))

        return answer_later

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        exchange = self._exchange(scope, receive, send)
        await self._during(exchange, self._dispatch(exchange))

    def _exchange(self, scope: HTTPScope, receive: Receive, send: Send) -> "_Exchange":
        exchange = _Exchange(scope, self._headers, receive, send, self._body_timeout)
        scope["request_id"] = exchange.request_id  # type: ignore[typeddict-unknown-key]
        return exchange

    async def _during(self, exchange: "_Exchange", work: Awaitable[None]) -> None:
        """Await the answer with the request id in the context, and count and log the request."""
        token = request_id.set(exchange.request_id)
        try:
            await work
            self._finish(exchange)
        finally:
            request_id.reset(token)

    def _finish(self, exchange: "_Exchange") -> None:
        seconds = exchange.finish()
        if self._observe is not None:
            self._observe(exchange.scope, exchange.status, seconds)

    def _fast_route(self, scope: HTTPScope) -> tuple[FastRoute, "_Head"] | None:
        found = self._fast_routes.get((scope["method"], scope["path"]))
        if found is None or len(scope.get("raw_path") or scope["path"]) != len(scope["path"]):
            return None
        return found

    async def _dispatch(self, exchange: "_Exchange") -> None:
        """Answer in the first way that is responsible for the request."""
        # HEAD as GET (RFC 9110 section 9.3.2). The server keeps its own scope, and so leaves the body out.
        scope = exchange.as_get() if exchange.scope["method"] == "HEAD" else exchange.scope
        raw_path = scope.get("raw_path") or scope["path"].encode()
        if exchange.header_bytes > self._max_header_bytes:
            await exchange.refuse(errors.HeadersTooLarge())
        elif self._metrics_access.is_own_listener(scope) and scope["path"] not in METRICS_PATHS:
            await exchange.refuse(errors.NotFound())
        elif (found := self._fast_route(scope)) is not None:
            route, head = found
            await self._try(_after_body(route, exchange), head, exchange)
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

    def _refused_preflight(self, scope: HTTPScope) -> errors.IdpError | None:
        """Return the error for a CORS preflight of a foreign origin (Fetch section 3.2.2), None if it is allowed."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or b"access-control-request-method" not in headers or self._origins.allows(origin):
            return None
        return refusal(origin)

    async def _try(self, answer: bytes | Awaitable[bytes], head: "_Head", exchange: "_Exchange") -> None:
        """Send the answer of a fast route, or pass the request to the framework."""
        scope = exchange.scope
        try:
            body = answer if isinstance(answer, bytes) else await answer
        except UseFramework:
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
            await exchange.answer(body, head)


async def _after_body(route: FastRoute, exchange: "_Exchange") -> bytes:
    """Return a fast route's answer to a request whose body may still arrive.

    Raises:
        UseFramework: also for a body that has several parts or is large, which the framework then reads.
    """
    if route.check_head is not None:
        route.check_head(exchange.scope)
    body = b"" if exchange.scope["method"] == "GET" else await exchange.whole_body()
    answer = route.answer(exchange.scope, body)
    return answer if isinstance(answer, bytes) else await answer


async def _raise(error: Exception) -> bytes:
    raise error


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
        self.scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._until = self._started + body_timeout
        self._body_complete = False
        self._replayed: Any = None
        self.status = 0
        self.is_head = self._head_ended = False
        self.request_id, self.header_bytes, cookie_lines = _read_head(scope["headers"])
        if cookie_lines > 1:
            scope["headers"] = _join_cookies(scope["headers"])

    def as_get(self) -> HTTPScope:
        """Return the scope of the same request with GET, and use it from now on."""
        self.is_head = True
        self.scope = {**self.scope, "method": "GET"}
        return self.scope

    def opens_to_every_origin(self) -> bool:
        """Let pages of every origin read the response; return whether the request is a preflight for that."""
        names = {name for name, _ in self.scope["headers"]}
        if b"origin" in names:
            self._headers = (*self._headers, *open_cors.RESPONSE)
        return self.scope["method"] == "OPTIONS" and b"access-control-request-method" in names

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
        if self._replayed is not None:
            message, self._replayed = self._replayed, None
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

    async def whole_body(self) -> bytes:
        """Return the body, which the framework can read once more.

        Raises:
            UseFramework: it has several parts or is large.
            RequestTimeout, BadRequest: as `receive`.
        """
        self._replayed = message = await self.receive()
        if message["type"] != "http.request" or message.get("more_body") or len(message["body"]) > MAX_BODY_BYTES:
            raise UseFramework
        body: bytes = message["body"]
        return body

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

    def answer_at_once(self, body: bytes, head: _Head) -> bool:
        """Send a 200 in one system call; return whether that was possible."""
        own_head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (head.lines, len(body), self.request_id.encode())
        if self.is_head or not answer_at_once(self._send, own_head, body):
            return False
        self._answered()
        return True

    async def answer(self, body: bytes, head: _Head) -> None:
        """Send a 200."""
        if self.answer_at_once(body, head):
            return
        self._answered()
        own = ((b"content-length", b"%d" % len(body)), (b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": (*head.headers, *own)})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _answered(self) -> None:
        self.status = 200
        self.scope["path_template"] = self.scope["path"]

    async def refuse(self, error: errors.IdpError) -> None:
        path = self.scope["path"]
        body = problems.document(error, path=path, request_id=self.request_id)
        self.scope["error"] = error  # type: ignore[typeddict-unknown-key]
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
        scope, seconds = self.scope, time.perf_counter() - self._started
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
