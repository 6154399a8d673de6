"""The Valkey client: shared by all processes, a hint and never the truth; without it everything stays right."""

from valkey.asyncio import Valkey


def connect(url: str | None) -> Valkey | None:
    """Return a client, which connects at first use, or None where Valkey is not used.

    Args:
        url: `valkey://`, `valkeys://`, `redis://` or `rediss://`.
    """
    if url is None:
        return None
    client: Valkey = Valkey.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
    return client
