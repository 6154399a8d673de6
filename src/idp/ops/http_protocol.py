"""uvicorn's HTTP protocol with limits on the size and time of a request head, and on pipelining.

uvicorn's parser has no limit on headers, never closes an idle connection before its first request, and merges trailers
of a chunked body into the headers. It also keeps reading while pipelined requests (RFC 9112 section 9.3.2) are queued,
so that one client can fill the memory.
"""

import asyncio
from collections.abc import Sized
from typing import Any

from uuid_utils.compat import uuid7
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from idp import errors
from idp.errors import IdpError, phrase
from idp.ops.batch import Batch, PreparedAnswer
from idp.ops.connections import ConnectionLimits
from idp.ops.forwarded import plain_address
from idp.ops.problems import MEDIA_TYPE, document
from idp.ops.security_headers import SECURITY_HEADERS

_HEAD_SECONDS = 15.0
_UNREAD_SECONDS = 60.0  # a client that reads nothing of an answer for so long is disconnected
_MAX_PIECE = 1024  # bytes passed to the parser at once, unless a head ends earlier
_END_OF_HEAD = b"\r\n\r\n"


def answer_at_once(send: Any, head: bytes, body: bytes) -> bool:
    """Write a complete 200 in one system call, without processing its headers again.

    Args:
        send: the ASGI callable.
        head: encoded header lines, including `Content-Length`.
        body: the content.

    Returns:
        False, with nothing written, if `send` is not uvicorn's or the connection is not ready.
    """
    cycle = getattr(send, "__self__", None)
    if (
        not isinstance(cycle, RequestResponseCycle)
        or cycle.response_started
        or cycle.waiting_for_100_continue
        or cycle.disconnected
        or not cycle.keep_alive
        or cycle.flow.write_paused
        or cycle.transport.is_closing()
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    own = [b"%b: %b\r\n" % header for header in cycle.default_headers]
    cycle.transport.write(b"".join([STATUS_LINE[200], *own, head, b"\r\n", body]))
    cycle.on_response()
    return True


def has_arrived(receive: Any) -> bool:
    """Whether uvicorn has received the whole body, so that no timeout is needed."""
    cycle = getattr(receive, "__self__", None)
    return isinstance(cycle, RequestResponseCycle) and not cycle.more_body and not cycle.disconnected


class _Flow(FlowControl):
    """Does not resume reading while a request is queued."""

    def __init__(self, transport: asyncio.Transport, queue: Sized) -> None:
        super().__init__(transport)
        self._queue = queue

    def resume_reading(self) -> None:
        if not self._queue:
            super().resume_reading()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a head that is too long (431) or too slow (408), and bytes that are not HTTP (400).

    One pipelined request is queued. Bytes after it stay unparsed, and reading stops, until it is answered.

    A request that has arrived completely is first offered to the application's `prepare` (`ops/envelope.py`), which
    needs no task; the first only of those that arrive at once on a connection.

    Args:
        batch: answers such requests; None to run a task for each.
        limits: on open connections; None for no limit.
        arguments: of uvicorn.
    """

    max_head_bytes = 131_072  # above server.max_header_bytes, which `ops/envelope.py` enforces

    def __init__(
        self, *arguments: Any, limits: ConnectionLimits | None = None, batch: Batch | None = None, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._unparsed = b""
        self._running: RequestResponseCycle | None = None
        self._batch = batch
        self._offered: RequestResponseCycle | None = None  # its head has arrived, and no task was started
        self._may_offer = self._is_broken = False
        self._unread: asyncio.TimerHandle | None = None
        self.address = ""
        self.answered = 0
        self.last_received = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        self.last_received = self.loop.time()
        self._head_bytes = 0
        self._in_head = True
        self._hosts = 0
        # Until the first byte: close without an answer.
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_SECONDS, transport.close)
        if self._limits is not None and not self._limits.admit(self, self.client[0] if self.client else ""):
            self.drop()

    def data_received(self, data: bytes) -> None:
        self.last_received = self.loop.time()
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._may_offer = self._batch is not None
        self._parse()

    def _parse(self) -> None:
        """Pass the received bytes to the parser in pieces, until a request has to be queued.

        A piece ends where a head ends, so that no piece contains two.
        """
        data, at = self._unparsed, 0
        while at < len(data) and not (self.pipeline or self._is_broken or self.transport.is_closing()):
            end = data.find(_END_OF_HEAD, at, at + _MAX_PIECE)
            end = min(at + _MAX_PIECE, len(data)) if end < 0 else end + len(_END_OF_HEAD)
            self._parse_piece(data if end - at == len(data) else data[at:end])
            at = end
        self._may_offer = False
        if self._offered is not None:
            self._running, self._offered = self._offered, None
            if self._batch is None or self._running.more_body:
                self.start(self.app)
            else:
                self._batch.add(self, self.loop)
        is_over = at >= len(data) or self._is_broken or self.transport.is_closing()
        self._unparsed = b"" if is_over else data[at:]

    def _parse_piece(self, data: bytes) -> None:
        if not self._in_head:
            super().data_received(data)
            return
        began = self._head_bytes == 0
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes and not self.transport.is_closing():
            if self._head_bytes > self.max_head_bytes:
                self._refuse(errors.HeadersTooLarge())
            elif began:  # and usually ends in the same piece
                self._restart_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer (RFC 9110 section 6.5): never merged into the headers
        if name.lower() == b"host":
            self._hosts += 1
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if self._hosts > 1:
            raise ValueError("more than one Host header")  # RFC 9112 section 3.2; the parser answers 400
        self._hosts = 0
        if b"#" in self.url:  # never sent by clients; the parser would cut it off, which gives a path a second spelling
            self.url = self.url.replace(b"#", b"%23")
        super().on_headers_complete()
        self._may_offer = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()
        self._in_head = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.answered += 1
        if not self.pipeline:
            if self._unparsed:
                self._parse()
            self.flow.resume_reading()
        if not self._in_head and not self.pipeline and self.cycle.response_complete:
            # Answered before the body was complete: the client has this long to finish sending.
            self._stop_timer()
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def prepare(self) -> PreparedAnswer | None:
        """Return the answer to the request; None if a task answers it."""
        cycle, app = self._running, self.app
        assert cycle is not None
        if not cycle.disconnected and (self._limits is None or not self._limits.draining):
            answer = app.prepare(cycle.scope, bytes(cycle.body), cycle.receive, cycle.send)
            if isinstance(answer, PreparedAnswer):
                return answer
            app = answer
        self.start(app)
        return None

    def start(self, app: Any) -> None:
        """Answer the request by a task that runs this application."""
        assert self._running is not None
        self._start_asgi_task(self._running, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._may_offer and not cycle.waiting_for_100_continue:
            self._offered = cycle
            return
        self._running = cycle
        if self._limits is not None and self._limits.draining:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting_for_reader()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_waiting_for_reader()
        if self._limits is not None:
            self._limits.release(self)
        self._unparsed = b""
        # uvicorn notifies only the newest request of a disconnect, not the one being answered.
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether the connection waits for the client."""
        cycle = self._running
        return cycle is None or cycle.response_complete or (cycle.more_body and cycle is self.cycle)

    def answer_last(self) -> None:
        """Announce in the answer under way that the connection ends with it, unless its head is sent already."""
        if self._running is not None and not self._running.response_started:
            self._running.keep_alive = False

    def drop(self) -> None:
        """Abort the connection."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(errors.BadRequest(msg))

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._refuse, errors.RequestTimeout())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_waiting_for_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, error: IdpError) -> None:
        """Write an answer without the application, which has no request yet, and close the connection.

        If an earlier request is not answered yet, its answer is the last one: this one would be taken for it.
        """
        earlier = self._offered or self._running
        if earlier is not None and not (earlier.response_complete or earlier.more_body):
            earlier.keep_alive = False
            self._is_broken = True
            return
        request_id = str(uuid7())
        body = document(error, path="", request_id=request_id)
        headers: list[tuple[Any, Any]] = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            (b"cache-control", b"no-store"),
            *SECURITY_HEADERS,
        ]
        lines = [f"HTTP/1.1 {error.status} {phrase(error.status)}".encode(), *(n + b": " + v for n, v in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
