"""A deployment and a Clerk instance beside it: the stand-in of `idp dev`, which signs as Clerk does."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from factories import Service, running
from idp.dev.clerk_delivery import PATH, Outgoing
from idp.dev.clerk_instance import ClerkInstance, new_state
from idp.dev.mailbox import Mailbox
from idp.dev.plugin import ClerkStandInPlugin, MailboxPlugin
from idp.development import Development

ISSUER = "https://clerk.example.com"
RECEIVED = {"success": True, "message": "Webhook received"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """A deployment that trusts one Clerk instance."""

    service: Service
    instance: ClerkInstance

    async def post(self, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        return await self.service.client.post(PATH, content=body, headers=dict(headers))

    async def deliver(self, message: Outgoing) -> httpx2.Response:
        return await self.post(message.body, message.headers(self.instance.state.webhook_secret))

    async def send(self, *events: dict[str, Any]) -> None:
        """Deliver events in this order, and wait until the service has heard of what they changed."""
        for event in events:
            answer = await self.deliver(Outgoing.of(event))
            assert (answer.status_code, answer.json()) == (200, RECEIVED), answer.text
        await self.service.app.core.change_listener.catch_up()

    async def created(self, **members: Any) -> str:
        """Create a user at Clerk and here, and return the id."""
        event = self.instance.create(**{"email": self.new_email()} | members)
        await self.send(event)
        return str(event["data"]["id"])

    def new_email(self) -> str:
        return f"clerk-{next(_numbers)}@example.com"

    async def row(self, user_id: str) -> dict[str, Any]:
        """Return a user's row."""
        rows = await self.service.sql("SELECT * FROM idp.users WHERE id = $1", user_id)
        assert len(rows) == 1, rows
        return dict(rows[0])

    async def me(self, user_id: str, path: str = "/v1/me", **claims: Any) -> httpx2.Response:
        token = self.instance.session_token(user_id, **claims)
        return await self.service.client.get(path, headers={"Authorization": f"Bearer {token}"})

    async def make_key(self, user_id: str, scopes: Sequence[str] = ("ingest:write",)) -> dict[str, Any]:
        """Create an API key with a session token, as the dashboard does."""
        headers = {"Authorization": f"Bearer {self.instance.session_token(user_id)}"}
        body = {"name": "ingestion", "scopes": list(scopes)}
        answer = await self.service.client.post("/v1/api-keys", headers=headers, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def count(self, *, kind: str, outcome: str) -> float:
        """Return how many webhooks of a type had an outcome."""
        wanted = f'idp_webhook_events_total{{outcome="{outcome}",type="{kind}"}} '
        lines = (await self.service.client.get("/metrics")).text.splitlines()
        return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)


@asynccontextmanager
async def running_world(
    database_url: str, *, instance: ClerkInstance | None = None, migrate: bool = True, **environ: str
) -> AsyncIterator[World]:
    """Run a deployment that trusts a new Clerk instance, whose list API it serves, too."""
    instance = instance or ClerkInstance(ISSUER, new_state())
    given = {
        "CLERK_ISSUER": instance.issuer,
        "CLERK_JWT_KEY": instance.public_key,
        "CLERK_WEBHOOK_SECRET": instance.state.webhook_secret,
        "CLERK_SECRET_KEY": instance.state.secret_key,
    }
    features = (
        lambda _core: ClerkStandInPlugin(lambda: instance),
        lambda core: MailboxPlugin(Mailbox(core.database, core.sealer)),
    )
    development = Development(features=features, keeps_mail=True)
    async with running(database_url, environ=given | environ, development=development, migrate=migrate) as service:
        yield World(service, instance)
