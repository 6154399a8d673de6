"""Reads the whole body before the caller is authenticated again, for requests whose body arrives slowly."""

from litestar.types import HTTPReceiveMessage, Receive


async def buffer_body(receive: Receive, *, max_bytes: int) -> Receive:
    """Read the body and return a `receive` that replays it.

    Args:
        receive: of the request.
        max_bytes: reading stops there; the handler refuses a larger body.
    """
    messages: list[HTTPReceiveMessage] = []
    size, more = 0, True
    while more and size <= max_bytes:
        message = await receive()
        messages.append(message)  # type: ignore[arg-type]
        more = message["type"] == "http.request" and message.get("more_body", False)
        size += len(message.get("body", b"")) if message["type"] == "http.request" else 0
    buffered = iter(messages)

    async def replay() -> HTTPReceiveMessage:
        message = next(buffered, None)
        return message if message is not None else await receive()  # type: ignore[return-value]

    return replay
