"""`RateLimit` and `RateLimit-Policy` on the answers of limited routes (draft-ietf-httpapi-ratelimit-headers)."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import BeforeMessageSendHookHandler, Message, Scope

from idp.ops.rate_limit import Limiter, asked_in_this_request


def tell_limits(limiter: Limiter) -> BeforeMessageSendHookHandler:
    """Return the hook that tells a client what is left of the limits that its request counts under.

    The limit of an account is not told: what is left of it would say what others do with that account.
    """

    async def hook(message: Message, _scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        told = [asked for asked in asked_in_this_request() if asked.rule.told]
        if not told:
            return
        policies, left = [], []
        for asked in told:
            rule, item = asked.rule, asked.rule.item
            policies.append(f'"{rule.name}";q={item.amount};w={item.get_expiry()}')
            remaining, reset = await limiter.left(asked)
            left.append(f'"{rule.name}";r={remaining};t={reset}')
        headers = MutableScopeHeaders(message)
        headers["RateLimit-Policy"] = ", ".join(policies)
        headers["RateLimit"] = ", ".join(left)

    return hook
