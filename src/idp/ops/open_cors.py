"""CORS of OAuth endpoints that pages of every origin may call (SEC-78).

A single-page app calls them with an explicit credential or none. Browsers send no cookies to `*`, so nothing is open
that a program could not call.
"""

RESPONSE = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"WWW-Authenticate, Retry-After, X-Request-Id"),
)
PREFLIGHT = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Request-Id"),
    (b"access-control-max-age", b"600"),
)
