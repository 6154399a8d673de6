"""uvicorn's HTTP protocol with bounds on how long a request's head may be and take.

The parser under uvicorn collects headers without any limit, keeps a silent connection for ever, and adds the trailers
after a chunked body to the headers, where they would be believed. None of that reaches the application from here.
"""

import asyncio
from typing import Any

from uuid_utils.compat import uuid7
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from idp import errors
from idp.errors import IdpError, phrase
from idp.ops.problems import MEDIA_TYPE, document
from idp.ops.security_headers import SECURITY_HEADERS

_HEAD_SECONDS = 15.0


def answer_at_once(send: Any, head: bytes, body: bytes) -> bool:
    """Write a whole 200 in one piece: one system call, and headers that nobody has to look through again.

    Args:
        send: what ASGI calls `send`.
        head: header lines, `Content-Length` among them, each with its line break.
        body: as long as `head` says.

    Returns:
        False where this is not uvicorn's, or the connection is not at ease; then nothing was written.
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
    """Whether the whole body is here already, as far as uvicorn's own `receive` can tell: then nothing can be late."""
    cycle = getattr(receive, "__self__", None)
    return isinstance(cycle, RequestResponseCycle) and not cycle.more_body and not cycle.disconnected


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a head that is too long (431) or too slow (408), and bytes that are not HTTP (400)."""

    max_head_bytes = 131_072  # above server.max_header_bytes, which the envelope answers more exactly

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._hosts = 0
        # Nothing said yet: after a while it hangs up without a word.
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            super().data_received(data)
            return
        began = self._head_bytes == 0
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes and not self.transport.is_closing():
            if self._head_bytes > self.max_head_bytes:
                self._refuse(errors.HeadersTooLarge())
            elif began:  # and not ended in the same piece, as it usually does
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
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()
        self._in_head = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and not self.pipeline and self.cycle.response_complete:
            # Answered before the body was there: its sender gets a while to finish, and then no connection.
            self._stop_timer()
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(errors.BadRequest(msg))

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(_HEAD_SECONDS, self._refuse, errors.RequestTimeout())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: IdpError) -> None:
        """Write the answer by hand, for there is no request to give to the application, and hang up."""
        request_id = str(uuid7())
        body = document(error, path="", request_id=request_id)
        headers: list[tuple[Any, Any]] = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        lines = [f"HTTP/1.1 {error.status} {phrase(error.status)}".encode(), *(n + b": " + v for n, v in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
