"""An app without any sign-in of its own: it relies on the proxy in front of it.

    PORT=9000 python examples/legacy_app/legacy_app.py

It listens on loopback only, so that nobody reaches it past the proxy.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Legacy(BaseHTTPRequestHandler):
    """Answers with the caller, one header a line."""

    def do_GET(self) -> None:
        seen = sorted((name, unquote(value)) for name, value in self.headers.items() if name.startswith("X-Auth-"))
        secrets = [name for name in ("Authorization", "X-Api-Key") if name in self.headers]
        cookie = self.headers.get("Cookie", "")
        lines = [f"path: {self.path}", *(f"{name}: {value}" for name, value in seen)]
        lines += [f"credential: {name}" for name in secrets] + [f"cookie: {cookie}"]
        body = "\n".join(lines).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Write no access log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Legacy).serve_forever()
