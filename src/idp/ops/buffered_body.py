"""The whole body before the decision: a request that is held back half way is decided about when it is complete."""

from litestar.types import HTTPReceiveMessage, Receive


async def buffer_body(receive: Receive, *, most: int) -> Receive:
    """Read the body, and return what gives it out again.

    Args:
        receive: of the request.
        most: bytes after which it is left to the handler, which refuses a body of that size.
    """
    messages: list[HTTPReceiveMessage] = []
    size, more = 0, True
    while more and size <= most:
        message = await receive()
        messages.append(message)  # type: ignore[arg-type]
        more = message["type"] == "http.request" and message.get("more_body", False)
        size += len(message.get("body", b"")) if message["type"] == "http.request" else 0
    waiting = iter(messages)

    async def again() -> HTTPReceiveMessage:
        message = next(waiting, None)
        return message if message is not None else await receive()  # type: ignore[return-value]

    return again
