"""Clerk's own SDKs accept what the stand-in of `idp dev` makes, so the other tests speak for Clerk, too."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from clerk_backend_api import Clerk
from clerk_backend_api.security import TokenVerificationError, VerifyTokenOptions, verify_token

from clerk.clerk_support import World, running_world
from idp.dev.clerk_delivery import Outgoing
from idp.dev.embedded import EmbeddedPostgres

VERSION = "@clerk/backend@3.25.0"
PARTY = "http://localhost:5173"
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "idp-tests" / VERSION.replace("/", "_")


def api_of(clerk: World) -> str:
    return f"{clerk.service.base_url}/dev/clerk"


async def test_the_python_sdk_accepts_tokens_of_the_stand_in(clerk: World) -> None:
    """S1-01: `clerk-backend-api`, with the keys that the stand-in publishes."""
    options = VerifyTokenOptions(
        secret_key=clerk.instance.state.secret_key, api_url=api_of(clerk), authorized_parties=[PARTY]
    )
    token = clerk.instance.session_token("user_sdk")
    claims = await asyncio.to_thread(verify_token, token, options)
    assert (claims["sub"], claims["iss"], claims["v"]) == ("user_sdk", clerk.instance.issuer, 2)
    for refused in (
        clerk.instance.session_token("user_sdk", exp=int(time.time()) - 60),
        clerk.instance.session_token("user_sdk", azp="https://evil.example"),
    ):
        with pytest.raises(TokenVerificationError):
            await asyncio.to_thread(verify_token, refused, options)


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")  # the SDK reads its own deprecated parameters
async def test_the_python_sdk_reads_the_list_of_the_stand_in(postgres: EmbeddedPostgres) -> None:
    """So `idp clerk diff` reads what Clerk's list looks like."""
    async with running_world(postgres.create_database("clerk_sdk")) as world:
        world.instance.create(email=world.new_email(), first_name="Listed")
        world.instance.create(username="phone")

        def listed() -> list[Any]:
            with Clerk(bearer_auth=world.instance.state.secret_key, server_url=f"{api_of(world)}/v1") as sdk:
                return list(sdk.users.list(request={"limit": 500}))

        first, second = await asyncio.to_thread(listed)
    assert (first.first_name, second.username) == ("Listed", "phone")


@pytest.fixture(scope="session")
def node_sdk() -> Path:
    """A folder with `@clerk/backend`, installed once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if not (CACHE / "done").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", VERSION]
        installed = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=120, check=False)
        if installed.returncode != 0:
            pytest.skip(f"{VERSION} cannot be installed: {installed.stderr[-300:]}")
        (CACHE / "done").touch()
    return CACHE


async def test_the_node_sdk_accepts_tokens_and_webhooks_of_the_stand_in(clerk: World, node_sdk: Path) -> None:
    """S1-01 S0-10: `@clerk/backend`: `verifyToken` by the published keys, `verifyWebhook` by the signing secret."""
    event = clerk.instance.create(email=clerk.new_email())
    message, state = Outgoing.of(event), clerk.instance.state
    given = {
        "token": clerk.instance.session_token("user_sdk"),
        "stale": clerk.instance.session_token("user_sdk", exp=int(time.time()) - 60),
        "party": PARTY,
        "secretKey": state.secret_key,
        "apiUrl": api_of(clerk),
        "signingSecret": state.webhook_secret,
        "webhook": {"headers": message.headers(state.webhook_secret), "body": message.body.decode()},
    }
    script = node_sdk / "clerk_sdk.mjs"
    script.write_text((HERE / "clerk_sdk.mjs").read_text("utf-8"))
    process = await asyncio.create_subprocess_exec(
        "node", str(script), cwd=node_sdk, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(given).encode())
    found = json.loads(output)
    assert found["token"]["ok"]["sub"] == "user_sdk"
    assert found["stale"]["error"] == "token-expired"
    assert found["webhook"]["ok"]["type"] == "user.created"
    assert found["webhook"]["ok"]["data"]["id"] == event["data"]["id"]
    assert "ok" not in found["changed"]
