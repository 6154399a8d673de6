"""Read your own writes: whoever changed something meets no earlier verdict in this process afterwards.

Other processes hear of a change within milliseconds; the one that answers for it waits until it has heard it itself.
"""

from litestar.types import BeforeMessageSendHookHandler, Message, Scope

from idp.db.notify import ChangeListener

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def wait_for_own_changes(change_listener: ChangeListener) -> BeforeMessageSendHookHandler:
    """Return the hook that waits before the answer of a route that may have changed something begins."""

    async def hook(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400 and _may_change(scope):
            await change_listener.catch_up()

    return hook


def _may_change(scope: Scope) -> bool:
    handler = scope.get("route_handler")
    if handler is None:
        return False
    return bool(handler.opt.get("changes")) or (
        scope.get("method") not in _READS and not handler.opt.get("decides_only")
    )
