"""Delivers events of the stand-in as Clerk does: signed, and on request lost, repeated or out of order."""

import json
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from standardwebhooks import Webhook

PATH = "/webhooks/clerk"


class Outgoing(Struct, frozen=True):
    """A message: its id stays the same when it is repeated."""

    id: str
    body: bytes

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Outgoing":
        return cls(f"msg_{secrets.token_hex(13)}", json.dumps(event).encode())

    def headers(self, secret: str, *, prefix: str = "svix") -> dict[str, str]:
        """Return the headers of an attempt now.

        Args:
            secret: `whsec_…`.
            prefix: of the headers' names, `svix` or `webhook`.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        return {
            "Content-Type": "application/json",
            f"{prefix}-id": self.id,
            f"{prefix}-timestamp": str(int(now.timestamp())),
            f"{prefix}-signature": Webhook(secret).sign(self.id, now, self.body.decode()),
        }


class Trouble(Struct, frozen=True):
    """What happens to messages on the way.

    Attributes:
        drop: share of messages that never arrive, 0 to 1.
        double: share of messages that arrive twice.
        shuffle: whether they arrive in any order.
        seed: repeats the same trouble.
    """

    drop: float = 0.0
    double: float = 0.0
    shuffle: bool = False
    seed: int | None = None


def on_the_way(messages: Sequence[Outgoing], trouble: Trouble) -> list[Outgoing]:
    """Return the messages as they arrive."""
    chance = random.Random(trouble.seed)  # noqa: S311  no secret
    arriving = []
    for message in messages:
        if chance.random() >= trouble.drop:
            arriving += [message, message] if chance.random() < trouble.double else [message]
    if trouble.shuffle:
        chance.shuffle(arriving)
    return arriving
