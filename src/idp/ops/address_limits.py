"""Per-address rate limits that are checked before the body is read, so that refused requests cost little."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from litestar import Request

from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules

What = Literal["login", "registration", "reset", "verification", "link"]
BeforeRequest = Callable[[Request[Any, Any, Any]], Awaitable[None]]


class AddressLimits:
    """Refuses addresses that have used up a rate limit."""

    def __init__(self, limiter: Limiter, rules: RateLimitRules) -> None:
        self._limiter = limiter
        self._rules = rules

    async def check(self, what: What, address: str) -> None:
        """Refuse the address if its limit is used up, without counting anything.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self._limiter.check(self._rules.of_address(what, address))


def checks_address(what: What) -> BeforeRequest:
    """Return the `before_request` hook of a route with a per-address limit."""

    async def check(request: Request[Any, Any, Any]) -> None:
        limits: AddressLimits = request.app.state.address_limits
        await limits.check(what, request.client.host if request.client else "")

    return check
