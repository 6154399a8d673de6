"""Read the JSON of browsers' credentials, and the errors of the library `webauthn`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from webauthn.helpers import parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException

from idp.errors import PasskeyRejected
from idp.signing import base64url

MILLISECONDS = 300_000  # that a browser waits for a person


def challenge_of(credential: dict[str, Any]) -> bytes:
    """Return the challenge that a browser's credential signs.

    Args:
        credential: as `PublicKeyCredential.toJSON()` returns it (WebAuthn Level 3 section 5.1).

    Raises:
        PasskeyRejected: it has none.
    """
    with refusing():
        return parse_client_data_json(base64url.decode(credential["response"]["clientDataJSON"])).challenge


@contextmanager
def refusing() -> Iterator[None]:
    """Turn any error of the library into `PasskeyRejected`: its parsers raise many kinds for malformed input."""
    try:
        yield
    except WebAuthnException as error:
        raise PasskeyRejected(f"The authenticator's response was refused: {error}") from None
    except Exception as error:
        raise PasskeyRejected("Send the credential as the browser's toJSON() returns it.") from error
