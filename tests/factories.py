"""Test data: a running service, users and principals."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx2

from idp.app import Application, create_app
from idp.cli.dev_process import build
from idp.cli.server import bind, uvicorn_server
from idp.development import Development
from idp.principal.model import AuthMethod, Credential, Principal, User
from idp.settings import LoadedSettings, Profile, load
from idp.signing.jwt import TokenSession
from prepared_databases import prepare
from secret_scan import WatchingClient, secrets_seen

SHARED = {"/shared", "/production"}  # databases of the services that most tests use
PASSWORD = "correct horse battery"
# How long the service waits for PostgreSQL in tests, on machines that may stand still for a second. Tests of a
# PostgreSQL that is away take the service's own limits.
PATIENT = {
    "IDP_DATABASE__POOL_TIMEOUT_SECONDS": "20",
    "IDP_DATABASE__CONNECT_TIMEOUT_SECONDS": "20",
    "IDP_DATABASE__STATEMENT_TIMEOUT_SECONDS": "20",
}
OWN_LIMITS = {"IDP_DATABASE__POOL_TIMEOUT_SECONDS": "1", "IDP_DATABASE__CONNECT_TIMEOUT_SECONDS": "1"}


def postgres_bin() -> Path | None:
    """Return the PostgreSQL that IDP_TEST_POSTGRES_BIN names, None for the wheel's."""
    given = os.environ.get("IDP_TEST_POSTGRES_BIN")
    return Path(given) if given else None


def root_secret() -> str:
    """Return a root secret that production accepts."""
    secret = secrets.token_urlsafe(48)
    secrets_seen.add(secret, "root secret")
    return secret


@dataclass
class Person:
    """A registered user."""

    id: str
    email: str
    password: str
    token: str
    user: dict[str, Any]
    refresh_token: str
    session_id: str

    @property
    def token_session(self) -> TokenSession:
        """The session as a token names it, for tests that sign their own."""
        now = datetime.now(UTC)
        return TokenSession(UUID(self.session_id), now, ("pwd",), "1", now + timedelta(days=30))

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Service:
    """A running service.

    `client` talks to it over its socket; `database_url` is for looking behind it with a connection of one's own.
    """

    base_url: str
    database_url: str
    loaded: LoadedSettings
    app: Application
    client: httpx2.AsyncClient
    _numbers: Any = field(default_factory=lambda: iter(range(1, 1_000_000)))
    has_ended: bool = False
    _idle: list[asyncpg.Connection] = field(default_factory=list)

    def new_email(self, name: str = "person") -> str:
        return f"{name}-{next(self._numbers)}-{secrets.token_hex(3)}@example.com"

    async def register(self, email: str | None = None, *, name: str = "Pat Person") -> Person:
        """Register a user with the API."""
        email = email or self.new_email()
        body = {"email": email, "password": PASSWORD, "name": name}
        answer = await self.client.post("/auth/register", json=body)
        assert answer.status_code == 200, answer.text
        return _person(answer.json(), email)

    async def sign_in(self, person: Person, **more: Any) -> Person:
        """Sign in once more, through the front door; `more` goes into the body."""
        body = {"email": person.email, "password": person.password, **more}
        answer = await self.client.post("/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        return _person(answer.json(), person.email)

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.client.post("/api/auth/refresh", json={"refresh_token": token})

    async def register_admin(self) -> Person:
        """Register a user and grant the role admin."""
        person = await self.register(name="Ada Admin")
        await self.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
        return person

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement on a connection of the tests' own, and wait until the service has heard of it."""
        connection = await self._connected()
        try:
            rows = await connection.fetch(statement, *values)
        except BaseException:
            connection.terminate()
            raise
        else:
            self._idle.append(connection)
            return rows
        finally:
            if self.has_ended:
                await self.disconnect()
            await self.app.core.change_listener.catch_up()

    async def _connected(self) -> asyncpg.Connection:
        """Return a connection that rests, if one still works, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            with suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError):
                await connection.execute("RESET ALL")
                return connection
        return await asyncpg.connect(self.database_url, statement_cache_size=0)

    async def disconnect(self) -> None:
        """Close the connections of `sql`."""
        while self._idle:
            with suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError):
                await self._idle.pop().close(timeout=2)  # it ends the connection either way

    async def me(self, headers: Mapping[str, str]) -> httpx2.Response:
        return await self.client.get("/auth/me", headers=dict(headers))

    async def validate(self, token: str, **more: Any) -> dict[str, Any]:
        answer = await self.client.post("/auth/validate", json={"token": token, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()


def _person(answer: dict[str, Any], email: str) -> Person:
    return Person(
        id=answer["user_id"],
        email=email,
        password=PASSWORD,
        token=answer["access_token"],
        user=answer["user"],
        refresh_token=answer["refresh_token"],
        session_id=answer["session_id"],
    )


@asynccontextmanager
async def running(
    database_url: str,
    *,
    valkey_url: str | None = None,
    profile: Profile = "development",
    environ: Mapping[str, str] | None = None,
    migrate: bool = True,
    hears: bool = True,
    app: Application | None = None,
    development: Development | None = None,
) -> AsyncIterator[Service]:
    """Run a service of its own for the length of the block.

    Args:
        database_url: an empty database, or one that is migrated already.
        valkey_url: None counts limits in the process.
        profile: as the commands choose it; development believes dev headers.
        environ: further environment variables, such as AUTH_JWT_SECRET_KEY.
        migrate: whether to migrate and seed first.
        hears: whether to wait until it hears changes; without its database it never does.
        app: an application to run instead of the one that the settings make.
        development: what exists besides, instead of what `idp dev` adds.
    """
    listener = bind("127.0.0.1", 0, hint="")
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    variables = {"DATABASE_URL": database_url, "IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": base_url, **PATIENT}
    if valkey_url:
        variables["VALKEY_URL"] = valkey_url
    # All tests share one address.
    for limit in (
        "REGISTRATIONS_PER_ADDRESS_PER_HOUR",
        "FAILED_LOGINS_PER_ADDRESS",
        "BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE",
        "RESETS_PER_ADDRESS_PER_HOUR",
        "VERIFICATIONS_PER_ADDRESS_PER_HOUR",
        "BAD_LINKS_PER_ADDRESS_PER_HOUR",
        "AUTHORIZATIONS_PER_ADDRESS_PER_HOUR",
    ):
        variables[f"IDP_RATE_LIMITS__{limit}"] = "100000"
    variables["IDP_PASSWORDS__QUEUE_LIMIT_PER_ADDRESS"] = "64"
    loaded = load(profile, environ=variables | dict(environ or {}))
    if migrate:
        await prepare(loaded)
    if development is not None:
        app = create_app(loaded, development)
    app = app or (build(loaded) if profile == "development" else create_app(loaded))
    server = uvicorn_server(app, loaded.settings.server)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        assert not serving.done(), "the service did not start"
    async with WatchingClient(base_url=base_url, timeout=20) as client:
        # All tests share it, and none is to be the browser of another.
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        try:
            service = Service(base_url, database_url, loaded, app, client)
            if hears:
                await until_it_hears(service)
            try:
                yield service
            finally:
                service.has_ended = True
                await service.disconnect()
        finally:
            server.should_exit = True
            await serving
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # tests stop databases, too
                await secrets_seen.search_database(database_url, always=urlsplit(database_url).path in SHARED)


async def until_it_hears(service: Service) -> None:
    """Wait until the service remembers verdicts, which it does while it hears changes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while not service.app.core.change_listener.lease_is_valid:  # noqa: ASYNC110  its lease is a time, not an event
                await asyncio.sleep(0.01)


def user(**changes: Any) -> User:
    """Return a user as a principal shows them."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": "01990c7e-0000-7000-8000-000000000001",
        "email": "pat@example.com",
        "email_verified": False,
        "name": "Pat Person",
        "avatar_url": None,
        "login_type": "email",
        "plan": "FREE",
        "is_active": True,
        "roles": ("user",),
        "teams": (),
        "domains": (),
        "created_at": now,
        "updated_at": now,
    }
    return User(**(values | changes))


def principal(who: User | None = None, *, method: AuthMethod = AuthMethod.LOCAL_JWT, **changes: Any) -> Principal:
    """Return a principal; tests are the only place besides `authn/resolve.py` that makes one."""
    return Principal(user=who, credential=Credential(method=method, **changes))
