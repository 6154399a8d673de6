"""What the developer's home shows: the servers, the demo users with tokens, and the registered clients."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.authn.resolve import load_user
from idp.core import Core
from idp.dev.personas import DEVICE, TOKEN_LIFE
from idp.directory import seed
from idp.errors import UserInactive
from idp.principal.model import User
from idp.provider.models import ClientRow
from idp.sessions.models import SessionRow
from idp.settings import Secret, seed_file
from idp.signing.jwt import TokenSession, TokenUser
from idp.users import service as users

_MAX_CLIENTS = 50


class Server(Struct, frozen=True):
    """A server that this service uses: its name, address and state."""

    name: str
    address: str
    state: str

    @property
    def mark(self) -> str:
        """How the page marks the state."""
        return "off" if self.state == "disabled" else "good" if self.state in {"healthy", "running"} else "bad"


class DemoUser(Struct, frozen=True):
    """A persona as it is now, with a token until it ends."""

    user: User
    access_token: str | None

    @property
    def tags(self) -> list[tuple[str, str]]:
        """Roles, teams and domains, each with its kind."""
        teams = [("team", f"{each.name}{' · admin' if each.role == 'admin' else ''}") for each in self.user.teams]
        return [
            *(("role", each) for each in self.user.roles),
            *teams,
            *(("domain", each.key) for each in self.user.domains),
        ]


class DeveloperHome:
    """Collects the facts.

    Args:
        core: of the running service.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.personas = seed.read(seed_file(core.settings)).personas

    async def servers(self) -> list[Server]:
        """Return PostgreSQL, Valkey and the stand-ins."""
        settings, states = self._core.settings, await self._core.health.states()
        found = [
            Server("PostgreSQL", _address(settings.database.url), states.get("database", "")),
            Server("Valkey", _address(settings.valkey.url), states.get("redis", "")),
        ]
        if settings.dev.clerk_file is not None:
            found.append(Server("Clerk (stand-in)", settings.clerk.api_url, "running"))
        return found

    async def demo_users(self) -> list[DemoUser]:
        """Return the personas that exist, each with a token of the session that this start began."""
        found = []
        for persona in self.personas:
            async with self._core.database.transaction() as session:
                user_id = await users.find_id_by_email(session, persona.email)
                if user_id is None:
                    continue
                try:
                    user = await load_user(session, user_id)
                except UserInactive:
                    continue
                begun = await _newest_session(session, user_id)
            found.append(DemoUser(user, await self._token(user, begun) if begun else None))
        return found

    async def clients(self) -> Sequence[ClientRow]:
        """Return the registered clients, newest first."""
        async with self._core.database.transaction() as session:
            query = select(ClientRow).order_by(ClientRow.created_at.desc()).limit(_MAX_CLIENTS)
            return (await session.scalars(query)).all()

    async def _token(self, user: User, begun: TokenSession) -> str:
        about = TokenUser(id=user.id, email=user.email, email_verified=user.email_verified, roles=user.roles)
        life = min(TOKEN_LIFE, max(begun.expires_at - clock.now(), timedelta(seconds=1)))
        return (await self._core.tokens.issue_asymmetric(about, session=begun, life=life)).token


async def _newest_session(session: AsyncSession, user_id: str) -> TokenSession | None:
    """Return the live session of `idp dev` itself, which began with its start."""
    now = clock.now()
    query = (
        select(SessionRow)
        .where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None), SessionRow.expires_at > now)
        .order_by(SessionRow.created_at.desc())
    )
    for row in await session.scalars(query):
        if row.device_info == DEVICE and row.auth_time is not None:
            return TokenSession(row.id, row.auth_time, tuple(row.amr or ()), row.acr or "1", row.expires_at)
    return None


def _address(url: Secret | None) -> str:
    """Return host and port of a server's URL, without its password."""
    parts = urlsplit(url.reveal()) if url is not None else None
    if parts is None:
        return "not used"
    return f"{parts.hostname}:{parts.port}{parts.path}" if parts.port else f"{parts.hostname}{parts.path}"
