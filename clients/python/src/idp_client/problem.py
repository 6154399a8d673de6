"""Problem documents of errors (`application/problem+json`, RFC 9457), for all adapters."""

from http import HTTPStatus

import msgspec

from idp_client.errors import AuthError

MEDIA_TYPE = "application/problem+json"


def problem(error: AuthError) -> bytes:
    """Return the response body for an error."""
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "title": HTTPStatus(error.status).phrase,
            "status": error.status,
            "detail": error.detail,
            "code": error.code,
        }
    )


def headers_of(error: AuthError, body: bytes) -> dict[str, str]:
    """Return the headers of the response with this body."""
    length = str(len(body))
    return {"Content-Type": MEDIA_TYPE, "Content-Length": length, "Cache-Control": "no-store", **error.headers}
