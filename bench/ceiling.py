"""The ceiling: a minimal ASGI application on uvicorn.

It reads the body and returns as many bytes as the path says (`POST /221`). The server's settings are those of `idp
serve`, except for the service's own protocol class.
"""

import sys
from typing import Any

import uvicorn

_CONTENT_TYPE = (b"content-type", b"application/json")
_START: dict[str, dict[str, Any]] = {}
_BODY: dict[str, dict[str, Any]] = {}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Return `int(path)` bytes after reading the whole body."""
    path = scope["path"]
    if path not in _START:
        body = b" " * int(path[1:])
        headers = [_CONTENT_TYPE, (b"content-length", str(len(body)).encode())]
        _START[path] = {"type": "http.response.start", "status": 200, "headers": headers}
        _BODY[path] = {"type": "http.response.body", "body": body}
    while (await receive()).get("more_body"):
        pass
    await send(_START[path])
    await send(_BODY[path])


def main() -> None:
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        backlog=2048,
    )


if __name__ == "__main__":
    main()
