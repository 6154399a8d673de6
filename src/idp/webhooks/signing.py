"""Secrets of endpoints, and signatures of deliveries (Standard Webhooks 1.0; library `standardwebhooks`)."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from standardwebhooks import Webhook

from idp.signing.sealing import Sealer
from idp.webhooks.models import WebhookRow

_SECRET_BYTES = 32
_PURPOSE: Final = "webhook"


def new_secret() -> str:
    """Return a new secret, as receivers configure it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def seal(sealer: Sealer, secret: str) -> str:
    """Return a secret encrypted for the database."""
    return sealer.seal(secret.encode(), purpose=_PURPOSE)


def secrets_of(sealer: Sealer, row: WebhookRow, now: datetime) -> list[str]:
    """Return the secrets that sign deliveries now, the current one first, without those that cannot be decrypted."""
    sealed = [row.sealed_secret]
    if row.former_sealed_secret is not None and row.former_until is not None and row.former_until > now:
        sealed.append(row.former_sealed_secret)
    opened = [sealer.open(each, purpose=_PURPOSE) for each in sealed]
    return [each.decode() for each in opened if each is not None]


def headers(message_id: str, body: bytes, keys: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers of a delivery, with a signature for each secret.

    Args:
        message_id: the same for every attempt.
        body: the exact bytes.
        keys: the secrets.
        now: when it is sent.
    """
    signatures = [Webhook(key).sign(message_id, now, body.decode()) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
