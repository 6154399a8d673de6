"""Reads a client's id and secret from a token request: `Authorization: Basic`, or the form (RFC 6749 section 2.3)."""

import base64
from urllib.parse import unquote_plus

from idp.errors import InvalidClient, OAuthInvalidRequest
from idp.provider.shapes import TokenRequest


def presented(authorization: str | None, form: TokenRequest) -> tuple[str, str]:
    """Return the id and the secret.

    Args:
        authorization: the header.
        form: the form.

    Raises:
        InvalidClient: there is none, or the header is malformed.
        OAuthInvalidRequest: the request uses both methods (SEC-48).
    """
    if authorization is None:
        if not form.client_id or not form.client_secret:
            raise InvalidClient("Send the client's id and secret, as Authorization: Basic or in the form.")
        return form.client_id, form.client_secret
    client_id, secret = _basic(authorization)
    if form.client_secret is not None or form.client_id not in {None, client_id}:
        raise OAuthInvalidRequest("Send the client's id and secret once: as Authorization: Basic, or in the form.")
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    """Decode the header; id and secret are form-encoded in it."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor ASCII, or not UTF-8
        raise InvalidClient("The Authorization header cannot be read.") from None
    client_id, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient("The token endpoint accepts Authorization: Basic, with the client's id and secret.")
    return unquote_plus(client_id), unquote_plus(secret)
