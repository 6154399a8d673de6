"""`idp dev`: everything for development in one command, on this machine alone."""

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    import socket

    from idp.dev.folder import DevFolder
    from idp.settings import LoadedSettings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; PORT, or 8000, by default.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data stays; var/dev by default.")
@click.option(
    "--processes", type=click.IntRange(1, 16), default=1, show_default=True, help="Each on a port of its own."
)
@click.option("--fresh", is_flag=True, help="Forget the data of earlier starts.")
def dev(port: int | None, data_dir: Path | None, processes: int, fresh: bool) -> None:
    """Start the service with its own PostgreSQL, its own Valkey and a few people to be.

    It listens on 127.0.0.1, believes X-User-Email, and signs tokens that production refuses.
    """
    started = time.monotonic()
    # The service's modules take a second to load; PostgreSQL takes a second to start: both at once.
    threading.Thread(target=_import_the_service, daemon=True).start()
    from idp.cli.server import bind
    from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
    from idp.dev.folder import DevFolder
    from idp.settings import load

    wanted = load("development").settings
    host = "0.0.0.0" if wanted.dev.in_container else "127.0.0.1"  # noqa: S104
    first = wanted.server.port if port is None else port
    hint = f"stop it, or choose another one, for example: script/dev --port {first + 1}"
    listeners = [bind(host, first, hint=hint)]
    listeners += [_next_port(host, listeners[0].getsockname()[1] + number) for number in range(1, processes)]
    folder = DevFolder((data_dir or _default_folder()).absolute())
    if fresh:
        folder.clear()
    postgres, valkey = EmbeddedPostgres(folder.path), EmbeddedValkey()
    try:
        postgres.start()
        valkey.start()
        folder.announce_nothing()
        run = _Run(folder, listeners, postgres.url, valkey.url, started)
        with suppress(KeyboardInterrupt):
            asyncio.run(run.serve())
    except KeyboardInterrupt:
        pass
    finally:
        folder.announce_nothing()
        valkey.stop()
        postgres.stop()


def _import_the_service() -> None:
    import idp.app
    import idp.dev.personas  # noqa: F401


def _default_folder() -> Path:
    from idp.settings import config_dir

    checkout = config_dir().parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "var" / "dev"


def _next_port(host: str, port: int) -> "socket.socket":
    """Take this port, or any free one where it is taken."""
    from idp.cli.server import PortTaken, bind

    try:
        return bind(host, port, hint="")
    except PortTaken:
        return bind(host, 0, hint="")


class _Run:
    """One start of the service, on databases that already run."""

    def __init__(
        self, folder: "DevFolder", listeners: "list[socket.socket]", database_url: str, valkey_url: str, started: float
    ) -> None:
        self._folder = folder
        self._listeners = listeners
        self._urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
        self._database_url = database_url
        self._valkey_url = valkey_url
        self._started = started

    def overrides(self) -> dict[str, str]:
        """Return what every process of this start is told, whatever its environment says."""
        return {
            "server.public_url": self._urls[0],
            "database.url": self._database_url,
            "valkey.url": self._valkey_url,
            "secrets.secret_key": self._folder.secret_key().reveal(),
        }

    async def serve(self) -> None:
        """Prepare the database, serve, and tell when it is ready."""
        from idp.cli.dev_process import build, load_development
        from idp.cli.server import uvicorn_server

        loaded = load_development(self.overrides())
        app = build(loaded)
        personas = await self._prepare(loaded, app.parts)
        others = [self._start_process(listener) for listener in self._listeners[1:]]
        server = uvicorn_server(app, loaded.settings.server)
        ready = asyncio.create_task(self._announce(server, personas))
        try:
            await server.serve(sockets=[self._listeners[0]])
        finally:
            ready.cancel()
            for process in others:
                process.terminate()
            for process in others:
                await asyncio.to_thread(process.wait)

    async def _prepare(self, loaded: "LoadedSettings", parts: Any) -> Any:
        from idp.db.migrate import upgrade
        from idp.dev import personas
        from idp.directory import seed
        from idp.settings import seed_file
        from idp.users import service as users

        planted = seed.read(seed_file(loaded.settings))
        await upgrade(parts.database)
        async with parts.database.transaction() as session:
            await users.ensure_roles(session)
            await seed.plant(session, planted)
        known = self._folder.passwords()
        people = await personas.prepare(parts.database, parts.passwords, parts.tokens, planted, known)
        self._folder.keep_passwords(people)
        return people

    def _start_process(self, listener: "socket.socket") -> "subprocess.Popen[bytes]":
        import msgspec

        process = subprocess.Popen(
            [sys.executable, "-m", "idp.cli.dev_process", str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            process_group=0,  # Ctrl-C reaches us, and we end it
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self.overrides()))
        process.stdin.close()
        listener.close()
        return process

    async def _announce(self, server: Any, personas: Any) -> None:
        from idp.dev import screen

        while not server.started:
            await asyncio.sleep(0.01)
        for url in self._urls[1:]:
            await asyncio.to_thread(_wait_for, f"{url}/healthz")
        admin = next(person for person in personas if "admin" in person.roles)
        self._folder.announce(
            {
                "base_url": self._urls[0],
                "base_urls": self._urls,
                "issuer": self._urls[0],
                "docs_url": f"{self._urls[0]}/docs",
                "database_url": self._database_url,
                "valkey_url": self._valkey_url,
                "admin_token": admin.access_token,
            },
            personas,
        )
        screen.show(
            base_urls=self._urls,
            personas=personas,
            token_file=self._folder.token_file,
            folder=self._folder.path,
            seconds=time.monotonic() - self._started,
        )


def _wait_for(url: str) -> None:
    """Wait until a process answers; its socket listens already, so one request waits in line."""
    import urllib.request

    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  our own address
        answer.read()
