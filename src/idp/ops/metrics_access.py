"""Access to /metrics: in production with METRICS_TOKEN, or on the port for metrics.

Counters reveal when users sign in: two scrapes around a registration could tell whether the address had an account.
"""

import hashlib
import hmac

from litestar.types import HTTPScope

from idp.errors import MetricsTokenRequired
from idp.settings_schema import Secret

METRICS_PATHS = frozenset({"/metrics", "/healthz"})  # paths of the metrics listener


class MetricsAccess:
    """Decides about requests for metrics.

    Args:
        is_open: whether no token is required, as in development.
        token: METRICS_TOKEN.
        port: of the listener for metrics, None for none.
    """

    def __init__(self, *, is_open: bool, token: Secret | None, port: int | None) -> None:
        self._is_open = is_open
        self._digest = _digest(token.reveal().encode()) if token else None
        self._port = port

    def check(self, scope: HTTPScope) -> None:
        """Check a request.

        Raises:
            MetricsTokenRequired: it came to the public listener without the token.
        """
        if self._is_open or self.is_own_listener(scope):
            return
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, presented = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        matches = self._digest is not None and hmac.compare_digest(_digest(presented.strip()), self._digest)
        if scheme.lower() != b"bearer" or not matches:
            raise MetricsTokenRequired

    def is_own_listener(self, scope: HTTPScope) -> bool:
        """Whether the request came to the listener for metrics; the port is our own socket's, not from a header."""
        server = scope["server"]
        return self._port is not None and server is not None and server[1] == self._port


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
