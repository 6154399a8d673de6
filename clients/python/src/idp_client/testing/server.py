"""The HTTP server of the issuer for tests: a thread on loopback, and an outage on demand."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import msgspec

_MAX_BODY = 1_000_000  # bytes


class Request(NamedTuple):
    """A request; `path` has no query, and the names of `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """Its response; `content` becomes JSON."""

    content: object
    status: int = 200
    headers: Mapping[str, str] = {}


_OUTAGE = Response({"code": "unavailable", "status": 503}, 503, {"Retry-After": "1"})
_NOT_FOUND = Response({"code": "not_found", "status": 404}, 404)


class Server:
    """Answers requests on a free port of 127.0.0.1 until `stop`.

    Args:
        routes: a handler for each method and path.
    """

    def __init__(self, routes: Mapping[tuple[str, str], Callable[[Request], Response]]) -> None:
        self._routes = routes
        self._outages = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        serve = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serve.start()

    def stop(self) -> None:
        """Close the port."""
        self._http.shutdown()
        self._http.server_close()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Answer every request with 503 for the length of the block."""
        self._outages += 1
        try:
            yield
        finally:
            self._outages -= 1

    def answer(self, request: Request) -> Response:
        """Return the response to a request."""
        if self._outages:
            return _OUTAGE
        handler = self._routes.get((request.method, request.path))
        return _NOT_FOUND if handler is None else handler(request)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # head and body in one packet

        def answer(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > _MAX_BODY or "Transfer-Encoding" in self.headers:
                self.close_connection = True
                self._send(Response({"code": "bad_request", "status": 400}, 400))
                return
            headers = {name.lower(): text for name, text in self.headers.items()}
            body = self.rfile.read(int(length))
            self._send(server.answer(Request(self.command, self.path.partition("?")[0], headers, body)))

        do_GET = do_POST = answer  # noqa: N815

        def _send(self, response: Response) -> None:
            body = msgspec.json.encode(response.content)
            self.send_response(response.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **response.headers}
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing; pytest shows what the service writes."""

    return Handler
