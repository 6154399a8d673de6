"""The headers `RateLimit` and `RateLimit-Policy` of limited routes (draft-ietf-httpapi-ratelimit-headers)."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import BeforeMessageSendHookHandler, Message, Scope

from idp.ops.rate_limit import Limiter, take_checked_rules


def add_limit_headers(limiter: Limiter) -> BeforeMessageSendHookHandler:
    """Return the hook that adds the headers for the limits that a request was checked against.

    Limits per account are left out: their state would reveal what other clients do with that account.
    """

    async def hook(message: Message, _scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        shown = [checked for checked in take_checked_rules() if checked.rule.told]
        if not shown:
            return
        policies, left = [], []
        for checked in shown:
            rule, item = checked.rule, checked.rule.item
            policies.append(f'"{rule.name}";q={item.amount};w={item.get_expiry()}')
            remaining, reset = await limiter.remaining(checked)
            left.append(f'"{rule.name}";r={remaining};t={reset}')
        headers = MutableScopeHeaders(message)
        headers["RateLimit-Policy"] = ", ".join(policies)
        headers["RateLimit"] = ", ".join(left)

    return hook
