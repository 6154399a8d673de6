"""The comparison with the list of the stand-in, over its socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clerk.clerk_support import ISSUER, World
from idp.clerk.api import open_api
from idp.clerk.comparison import Findings
from idp.clerk.drift import Drift
from idp.dev.clerk_instance import ClerkInstance, new_state
from idp.settings import Secret

NO_DEFAULTS = {"IDP_ACCOUNTS__DEFAULT_TEAMS": "", "IDP_ACCOUNTS__DEFAULT_DOMAINS": "", "LOG_LEVEL": "warning"}


def live_instance() -> ClerkInstance:
    """Return an instance with the rate limits of production."""
    state = new_state()
    state.secret_key = state.secret_key.replace("sk_test_", "sk_live_")
    return ClerkInstance(ISSUER, state)


@asynccontextmanager
async def drift(world: World, roles: tuple[str, ...] = ()) -> AsyncIterator[Drift]:
    """Open the comparison with the stand-in's list, over its socket."""
    url = f"{world.service.base_url}/dev/clerk"
    async with open_api(url, Secret(world.instance.state.secret_key)) as api:
        yield Drift(api, world.service.app.core.clerk_users, roles)


async def diff(world: World) -> Findings:
    async with drift(world) as comparison:
        return await comparison.find()


async def repair(world: World, *, max_deletions: int = 10_000) -> Findings:
    async with drift(world) as comparison:
        return await comparison.repair(max_deletions=max_deletions)
