"""One attempt to deliver a message to an endpoint, and what its answer means."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from idp import clock
from idp.events.envelope import CONTENT_TYPE
from idp.signing.fetch import Fetcher, FetchFailed
from idp.webhooks import signing

# About this one event: its content, or its size. Any other refusal is about the endpoint.
_REJECTED = frozenset({400, 409, 413, 415, 422})
_GONE = 410
_MAX_RETRY_AFTER = 3600  # seconds


class Result(StrEnum):
    """What an answer means for the event."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED = "failed"
    GONE = "gone"


class Attempt(Struct, frozen=True):
    """The result of an attempt; `retry_after` in seconds, if the endpoint asked for it."""

    result: Result
    error: str | None = None
    retry_after: int | None = None


async def post(
    fetcher: Fetcher, url: str, message_id: str, body: bytes, keys: Sequence[str], *, seconds: float
) -> Attempt:
    """Post a signed message.

    Args:
        fetcher: keeps the limits of SEC-66.
        url: of the endpoint.
        message_id: the same for every attempt.
        body: the message.
        keys: the endpoint's secrets; without one nothing is sent.
        seconds: how long the answer may take.
    """
    if not keys:
        return Attempt(Result.FAILED, "no root secret opens the endpoint's secret: rotate it")
    sent = {"Content-Type": CONTENT_TYPE, **signing.headers(message_id, body, keys, clock.now())}
    try:
        answer = await fetcher.post(url, body, sent, seconds=seconds)
    except FetchFailed as error:
        return Attempt(Result.FAILED, str(error)[:500])
    if 200 <= answer.status < 300:
        return Attempt(Result.DELIVERED)
    asked = answer.retry_after or ""
    retry_after = (
        min(int(asked), _MAX_RETRY_AFTER) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None
    )
    return Attempt(_meaning(answer.status), f"answered {answer.status}", retry_after)


def _meaning(status: int) -> Result:
    if status == _GONE:
        return Result.GONE
    return Result.REJECTED if status in _REJECTED else Result.FAILED
