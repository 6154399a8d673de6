"""One run of `idp dev` on running databases: prepare, serve, announce, and stop the additional processes."""

import asyncio
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from idp.cli.dev_discovery import default_folder
from idp.cli.dev_process import SHUTDOWN_TIMEOUT, build, load_development
from idp.cli.failure import Failure
from idp.cli.server import NotStarted, uvicorn_server
from idp.users.passwords import check_shared_memory

if TYPE_CHECKING:
    from idp.app import Application
    from idp.core import Core
    from idp.dev.clients import DevClient
    from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
    from idp.dev.folder import DevFolder
    from idp.dev.personas import Persona

_SIGNS_HS256 = "AUTH_JWT_SECRET_KEY is set: /auth/login issues HS256 tokens; the tokens above are ES256."
_STOP_SECONDS = 10.0  # longer than a process waits for running requests
_FIRST_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.5  # interval of checking the database processes


class Servers(NamedTuple):
    """The started database servers."""

    postgres: "EmbeddedPostgres"
    valkey: "EmbeddedValkey"

    def ended(self) -> str | None:
        """Return a sentence about a server that exited, None while both run."""
        for name, process in (("PostgreSQL", self.postgres.process), ("Valkey", self.valkey.process)):
            code = process.poll()
            if code is not None:
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                return f"{name} (process {process.pid}) ended {how}"
        return None


class DevRun:
    """One run of `idp dev`.

    Args:
        folder: the data folder.
        listeners: a listening socket per process, this process's first.
        servers: the running databases.
        started: start time of the command (`time.monotonic`).
        quiet: do not print requests.
        redirect_uris: of `--client`, by client id.
    """

    def __init__(
        self,
        folder: "DevFolder",
        listeners: list[socket],
        servers: Servers,
        *,
        started: float,
        quiet: bool,
        redirect_uris: Mapping[str, Sequence[str]],
    ) -> None:
        self._redirect_uris = redirect_uris
        self._clients: list[DevClient] = []
        self._folder = folder
        self._listeners = listeners
        self._urls = [f"http://localhost:{listener.getsockname()[1]}" for listener in listeners]
        self._port: int = listeners[0].getsockname()[1]
        self._servers = servers
        self._database_url = servers.postgres.url
        self._valkey_url = servers.valkey.url
        self._started = started
        self._quiet = quiet
        self._shared_secret = False
        settings = load_development({}).settings
        self._admin_token = settings.management.admin_token or folder.admin_token()
        self._providers: dict[str, Any] = msgspec.to_builtins(settings.oidc.providers)
        self._federation: dict[str, Any] = msgspec.to_builtins(settings.federation.providers, enc_hook=_revealed)
        clerk = settings.clerk
        self._uses_clerk = bool(clerk.webhook_secrets or clerk.issuer or clerk.publishable_key or clerk.jwt_key)

    def serve(self) -> None:
        """Serve until a signal.

        Raises:
            Failure: a process did not start.
            SystemExit: at a signal, after running requests are finished.
        """
        processes = [self._start_process(listener) for listener in self._listeners[1:]]
        try:
            check_shared_memory()
            loaded = load_development(self._overrides())
            self._shared_secret = bool(loaded.settings.tokens.auth_jwt_secret)
            app = build(loaded, quiet=self._quiet)
            server = uvicorn_server(app, loaded.settings.server, shutdown_timeout=SHUTDOWN_TIMEOUT)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(self._serve(server, app, processes))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                _wait(process)

    def _overrides(self) -> dict[str, Any]:
        """Return the settings that override the environment in every process of this run."""
        return {
            "server.public_url": self._urls[0],
            "database.url": self._database_url,
            "database.direct_url": None,
            "database.migration_url": None,
            "valkey.url": self._valkey_url,
            "secrets.secret_key": self._folder.secret_key().reveal(),
            "management.admin_token": self._admin_token.reveal(),
            **self._clerk_stand_in(),
            **self._upstream(),
        }

    def _upstream(self) -> dict[str, Any]:
        """Return the settings that trust Example Corp, beside the configured providers."""
        from idp.dev import upstream_issuer

        file = self._folder.path / upstream_issuer.NAME
        upstream_issuer.ensure_key(file)
        issuer = upstream_issuer.issuer_on(self._port)
        secret = self._folder.upstream_client_secret().reveal()
        name = upstream_issuer.PROVIDER
        return {
            "dev.upstream_key_file": str(file),
            "oidc.providers": self._providers | {name: upstream_issuer.provider_settings(issuer)},
            "federation.providers": {name: upstream_issuer.sign_in_settings(issuer, secret)} | self._federation,
        }

    def _clerk_stand_in(self) -> dict[str, Any]:
        """Return the settings that trust the stand-in for Clerk; none if the environment names a Clerk instance."""
        from idp.dev import clerk_routes, clerk_store

        if self._uses_clerk:
            return {}
        file = self._folder.path / clerk_store.NAME
        with clerk_store.changing(file) as state:
            secrets = [state.webhook_secret], state.secret_key
        base = f"http://127.0.0.1:{self._port}{clerk_routes.PATH}"
        return {
            "dev.clerk_file": str(file),
            "clerk.issuer": base,
            "clerk.api_url": base,
            "clerk.webhook_secrets": secrets[0],
            "clerk.secret_key": secrets[1],
        }

    def _start_process(self, listener: socket) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # noqa: S603  no shell
            [
                sys.executable,
                "-m",
                "idp.cli.dev_process",
                str(listener.fileno()),
                *(["--quiet"] if self._quiet else []),
            ],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            process_group=0,  # only this process gets Ctrl-C; it stops the child
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self._overrides()))
        process.stdin.close()
        listener.close()
        return process

    async def _serve(self, server: Any, app: "Application", processes: "list[subprocess.Popen[bytes]]") -> None:
        try:
            personas = await self._prepare(app.core)
        except BaseException:
            app.core.passwords.stop()  # the application would stop them, but it never starts
            raise
        if personas:
            from idp.pages.plugin import PagesPlugin

            app.plugins.get(PagesPlugin).document.show_login(personas[0].email, personas[0].password)
        tasks = [
            asyncio.create_task(self._announce(server, personas, processes)),
            asyncio.create_task(self._watch_servers(server)),
        ]
        try:
            await server.serve(sockets=[self._listeners[0]])
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # raise its failure, if any
        if not server.started:
            raise NotStarted

    async def _watch_servers(self, server: Any) -> None:
        """Stop serving when a database exits, because every request would be 503.

        Raises:
            Failure: naming the database and the remedy.
        """
        while not (ended := self._servers.ended()):  # noqa: ASYNC110  a process has no event that asyncio knows
            await asyncio.sleep(_POLL_SECONDS)
        server.should_exit = True
        log = self._folder.path / "postgres.log"
        raise Failure(f"{ended}, so `idp dev` stops. Start it again; the data is kept. PostgreSQL log: {log}")

    async def _prepare(self, core: "Core") -> "list[Persona]":
        from idp.db import installation
        from idp.db.migrate import upgrade
        from idp.dev import clients, personas
        from idp.directory import seed
        from idp.settings import seed_file
        from idp.users import service as users

        content = seed.read(seed_file(core.settings))
        await upgrade(core.database)
        await installation.add(core.database, installation.DEVELOPMENT, "idp dev")
        async with core.database.transaction() as session:
            await users.ensure_roles(session)
            await seed.apply(session, content)
        known = self._folder.passwords()
        people = await personas.prepare(core.database, core.passwords, core.tokens, content, known)
        self._folder.keep_passwords(people, known)
        self._clients = await clients.prepare(core, self._redirect_uris)
        return people

    async def _announce(
        self, server: Any, personas: "list[Persona]", processes: "list[subprocess.Popen[bytes]]"
    ) -> None:
        from idp.dev import banner

        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            for url in self._urls[1:]:
                await asyncio.to_thread(_wait_for, f"{url}/healthz", processes)
        except Failure:
            server.should_exit = True
            raise
        self._folder.write_discovery(self._facts(personas), personas)
        banner.show(
            base_urls=self._urls,
            personas=personas,
            tokens=self._folder.token_files(personas),
            folder=self._folder.path,
            seconds=time.monotonic() - self._started,
            manage=self._example_command(),
            others=self._commands_of_others(),
            notes=self._notes(personas),
        )

    def _notes(self, personas: "list[Persona]") -> list[str]:
        """Return a sentence for each notable condition."""
        from idp.settings import unknown_variables

        restored = [persona.email for persona in personas if persona.restored]
        return [
            *unknown_variables(),
            *([f"Passwords restored to the printed ones: {', '.join(restored)}."] if restored else []),
            *([_SIGNS_HS256] if self._shared_secret else []),
        ]

    def _commands_of_others(self) -> dict[str, str]:
        """Return commands that act as other services for this run, by what they do."""
        commands = {"A token of another OpenID provider": self._dev_command("upstream token grace")}
        if not self._uses_clerk:
            commands["A user of Clerk, with signed webhooks"] = self._dev_command(
                "clerk create --email pat@example.com"
            )
        return commands

    def _dev_command(self, arguments: str) -> str:
        is_default = self._folder.path == default_folder().absolute()
        folder = "" if is_default else f" --data-dir {shlex.quote(str(self._folder.path))}"
        return f"{_own_command()} dev{folder} {arguments}"

    def _example_command(self) -> str:
        """Return an example management command for this run; with the default folder it needs no options."""
        command = f"{_own_command()} users list"
        if self._folder.path == default_folder().absolute():
            return command
        kept = self._folder.kept_admin_token(self._admin_token)
        token = f"ADMIN_TOKEN=$(cat {shlex.quote(str(kept))}) " if kept else ""
        return f"{token}{command} --url {self._urls[0]}"

    def _facts(self, personas: "list[Persona]") -> dict[str, Any]:
        from idp.dev import upstream_issuer

        return {
            "base_url": self._urls[0],
            "base_urls": self._urls,
            "issuer": self._urls[0],
            "docs_url": f"{self._urls[0]}/docs",
            "mailbox_url": f"{self._urls[0]}/dev/mailbox",
            "upstream_issuer": upstream_issuer.issuer_on(self._port),
            "upstream_people": [each.email for each in upstream_issuer.PERSONAS],
            "database_url": self._database_url,
            "valkey_url": self._valkey_url,
            "clerk_stand_in": not self._uses_clerk,
            "admin_token": next((person.access_token for person in personas if "admin" in person.roles), None),
            "management_token": self._admin_token.reveal(),
            "clients": msgspec.to_builtins(self._clients),
        }


def _revealed(secret: Any) -> str:
    """Return the text of a secret in the settings, for the other processes of this run."""
    return str(secret.reveal())


def _own_command() -> str:
    """Return `idp`, or its path if another program of this name is first on PATH."""
    own, found = Path(sys.executable).with_name("idp"), shutil.which("idp")
    is_other = found is None or not own.exists() or not Path(found).samefile(own)
    return shlex.quote(str(own)) if is_other and own.exists() else "idp"


def _wait_for(url: str, processes: "list[subprocess.Popen[bytes]]") -> None:
    """Wait until a process answers; its socket already listens, so one request is enough.

    Raises:
        Failure: it exited, or takes too long.
    """
    try:
        with urllib.request.urlopen(url, timeout=_FIRST_ANSWER_SECONDS) as answer:  # noqa: S310  our own address
            answer.read()
    except OSError:
        ended = [process.pid for process in processes if process.poll() is not None]
        why = f"process {ended[0]} exited" if ended else f"no response within {_FIRST_ANSWER_SECONDS:.0f} s"
        raise Failure(f"{url} did not answer ({why}): see the log above.") from None


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
