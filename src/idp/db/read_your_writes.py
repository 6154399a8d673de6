"""Read your own writes: after a change, this process uses no earlier verdict.

Other processes receive a change within milliseconds. The process that made it waits for its own notification before it
responds.
"""

from litestar.types import BeforeMessageSendHookHandler, Message, Scope

from idp.db.change_source import ChangeSource

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def wait_for_own_changes(change_listener: ChangeSource) -> BeforeMessageSendHookHandler:
    """Return the hook that delays the response of a route that may have changed something."""

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
