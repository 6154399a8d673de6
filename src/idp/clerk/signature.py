"""The signature of a webhook: Standard Webhooks, as Svix sends it (S0-10).

The library signs the message; what it does not expect is checked before: an entry of the signature header without
exactly one comma, bad base64, a body that is not UTF-8, a timestamp that is not a whole number.
"""

import base64
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct
from standardwebhooks import Webhook, WebhookVerificationError

from idp.settings import Secret

_PREFIXES = ("svix", "webhook")
_IS_ID = re.compile(r"[!-~]{1,256}").fullmatch
_IS_SECONDS = re.compile(r"[0-9]{1,12}").fullmatch
_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")  # 32 bytes; other versions are for other algorithms
_MAX_SIGNATURES = 16  # a few while a secret is replaced


class BadSignature(Exception):
    """The message is not Clerk's, too old, or changed on the way."""


class NoSignature(BadSignature):
    """The request has no signature headers."""


class Delivery(Struct, frozen=True):
    """A verified message: its id, which a repetition has too, and the time of this attempt (seconds since 1970)."""

    id: str
    sent_at: int


def readers(secrets: Sequence[Secret]) -> list[Webhook]:
    """Return what verifies with each secret.

    Raises:
        ValueError: one is not a signing secret.
    """
    return [_reader(secret.reveal()) for secret in secrets]


def _reader(secret: str) -> Webhook:
    key = secret.removeprefix("whsec_")
    try:
        decoded = base64.b64decode(key.rstrip("=") + "=" * (-len(key.rstrip("=")) % 4), validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) < 16:
        raise ValueError("CLERK_WEBHOOK_SECRET is not a signing secret: copy it from Clerk's dashboard (whsec_…)")
    return Webhook(decoded)


def verify(body: bytes, headers: Mapping[str, str], webhooks: Sequence[Webhook]) -> Delivery:
    """Verify a message with any of the secrets.

    Args:
        body: the raw body.
        headers: of the request, names in lower case.
        webhooks: as `readers` returns them.

    Raises:
        NoSignature: there are no signature headers.
        BadSignature: none of the secrets made the signature, or it is not of these minutes.
    """
    message_id, timestamp, listed = _signed(headers)
    if not _IS_ID(message_id) or not _IS_SECONDS(timestamp):
        raise BadSignature("id or timestamp is malformed")
    signatures = [each for each in listed.split(" ") if _SIGNATURE.fullmatch(each)][:_MAX_SIGNATURES]
    given = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
    reason = "no secret is set"
    for webhook in webhooks:
        try:
            webhook.verify(body, given, json_parse=False)
        except WebhookVerificationError as error:
            reason = str(error)  # one of the library's own sentences, such as "Message timestamp too old"
            continue
        except UnicodeDecodeError:
            raise BadSignature("the body is not UTF-8") from None
        return Delivery(message_id, int(timestamp))
    raise BadSignature(reason)


def _signed(headers: Mapping[str, str]) -> tuple[str, str, str]:
    for prefix in _PREFIXES:
        found = tuple(headers.get(f"{prefix}-{name}", "").strip() for name in ("id", "timestamp", "signature"))
        if all(found):
            return found  # type: ignore[return-value]
    raise NoSignature("no signature headers")
