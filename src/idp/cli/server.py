"""Running the application under uvicorn, the same for `idp serve` and `idp dev`."""

import errno
import socket
from typing import Any

from idp.settings_schema import Server


class PortTaken(Exception):
    """Another program listens on this port."""


def bind(host: str, port: int, *, hint: str) -> socket.socket:
    """Take a port, before anything else is started.

    Args:
        host: the address to listen on.
        port: 0 takes a free one.
        hint: what to do when it is taken.

    Raises:
        PortTaken: with the hint.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} is taken by another program: {hint}.") from None
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another host or port.") from None
    return listener


def uvicorn_server(app: Any, settings: Server) -> Any:
    """Return a uvicorn server that is set up and not started."""
    import uvicorn

    from idp.ops.http_protocol import BoundedHttpProtocol

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # Forwarded headers are believed only from the networks that are named.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
            backlog=2048,
        )
    )
