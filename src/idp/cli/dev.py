"""`idp dev`: everything for development in one command, on this machine alone."""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    import socket

_LOAD_SECONDS = 10.0  # what takes longer hangs
_EXAMPLE = "script/dev --port {port}"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; PORT, or 8000, by default.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data stays; var/dev by default.")
@click.option(
    "--processes", type=click.IntRange(1, 16), default=1, show_default=True, help="Each on a port of its own."
)
@click.option("--fresh", is_flag=True, help="Forget the data of earlier starts.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print a line for each request.")
def dev(port: int | None, data_dir: Path | None, processes: int, fresh: bool, quiet: bool) -> None:
    """Start the service with its own PostgreSQL, its own Valkey and demo users.

    It listens on 127.0.0.1, accepts X-User-Email, signs tokens that production refuses, and prints each request.
    """
    from idp.cli.dev_discovery import default_folder
    from idp.cli.server import until_stopped

    started = time.monotonic()
    with until_stopped():
        # The service's modules take a second to load, and PostgreSQL nearly as long to start: both at once.
        loading = threading.Thread(target=_load_the_service, daemon=True)
        loading.start()
        try:
            path = (data_dir or default_folder()).absolute()
            _run(path, _listeners(path, port, processes), loading, fresh=fresh, started=started, quiet=quiet)
        except SystemExit:
            _leave_at_once(while_alive=loading)
            raise
        finally:
            loading.join(_LOAD_SECONDS)


def _leave_at_once(*, while_alive: threading.Thread) -> None:
    """End, if modules still load: an interpreter that ends as usual waits for them, or complains.

    Everything that was started is stopped by now.
    """
    if while_alive.is_alive():
        sys.stdout.flush()
        os._exit(0)


def _load_the_service() -> None:
    with suppress(BaseException):  # whoever uses these modules meets the same failure, in a place to report it
        import uvicorn.lifespan.on  # noqa: F401

        import idp.app
        import idp.cli.dev_run
        import idp.db.migrate
        import idp.dev.banner
        import idp.dev.personas
        import idp.ops.http_protocol  # noqa: F401


def _listeners(path: Path, port: int | None, processes: int) -> "list[socket.socket]":
    from idp.cli.dev_discovery import url_on
    from idp.cli.server import PortTaken, bind
    from idp.settings import load

    wanted = load("development").settings
    host = "0.0.0.0" if wanted.dev.in_container else "127.0.0.1"  # noqa: S104
    first = wanted.server.port if port is None else port
    example = _EXAMPLE.format(port=first + 1 if first < 65535 else 0)
    try:
        taken = [bind(host, first, hint=f"stop it, or choose another one, for example: {example}")]
    except PortTaken:
        running = url_on(first, path)
        if running is None:
            raise
        raise PortTaken(
            f"`idp dev` with this data runs already at {running}: use that one, stop it with Ctrl-C in its terminal, "
            f"or start another one beside it: {example} --data-dir {path}-2."
        ) from None
    port_taken = taken[0].getsockname()[1]
    return taken + [_next_port(host, port_taken + number) for number in range(1, processes)]


def _next_port(host: str, port: int) -> "socket.socket":
    """Take this port, or any free one where it is taken."""
    from idp.cli.server import PortTaken, bind

    try:
        return bind(host, port, hint="")
    except (PortTaken, OverflowError):
        return bind(host, 0, hint="")


def _run(
    path: Path, listeners: "list[socket.socket]", loading: threading.Thread, *, fresh: bool, started: float, quiet: bool
) -> None:
    """Start the servers on this folder, serve, and stop them whatever happens."""
    from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, FolderInUse
    from idp.dev.folder import DevFolder

    folder = DevFolder(path)
    try:
        if fresh:
            folder.clear()
        else:
            folder.remove_stale_discovery()
    except FolderInUse as error:
        raise _in_use(path, error) from None
    postgres, valkey = EmbeddedPostgres(path), EmbeddedValkey()
    try:
        postgres.start()  # from here on the folder is ours alone
        valkey.start()
        loading.join()
        from idp.cli.dev_run import DevRun, Servers

        servers = Servers(postgres, valkey)
        try:
            DevRun(folder, listeners, servers, started=started, quiet=quiet).serve()
        finally:
            folder.clear_discovery()
    finally:
        valkey.stop()
        postgres.stop()


def _in_use(path: Path, error: Exception) -> Exception:
    """Return the refusal of a data folder that is in use, with the address of the `idp dev` that runs there."""
    from idp.cli.dev_discovery import find_running_dev
    from idp.cli.failure import Failure

    facts = find_running_dev(path)
    return Failure(f"{error} `idp dev` runs there at {facts.base_urls[0]}.") if facts else error
