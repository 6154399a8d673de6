"""`idp dev`: run the service with its databases for development, on this machine only."""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import rich_click as click

from idp.cli.groups import LazyGroup

if TYPE_CHECKING:
    import socket

_LOAD_SECONDS = 10.0  # timeout
_EXAMPLE = "script/dev --port {port}"


# In the order of `--help`: module and name.
_COMMANDS = {"clerk": ("idp.cli.dev_clerk", "clerk"), "upstream": ("idp.cli.dev_upstream", "upstream")}


class _Commands(LazyGroup):
    commands_by_name = _COMMANDS


@click.group(cls=_Commands, invoke_without_command=True, subcommand_metavar="[COMMAND]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; default: PORT, or 8000.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Data folder; default: var/dev.")
@click.option(
    "--processes",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Number of processes, each on its own port.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME=URI",
    help="A redirect URI of the OAuth client NAME, which is created if it does not exist; any number of times.",
)
@click.option("--fresh", is_flag=True, help="Delete the data of earlier starts.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print a line for each request.")
@click.pass_context
def dev(
    ctx: click.Context,
    port: int | None,
    data_dir: Path | None,
    processes: int,
    clients: tuple[str, ...],
    fresh: bool,
    quiet: bool,
) -> None:
    """Start the service with its own PostgreSQL, its own Valkey and demo users.

    It listens on 127.0.0.1, accepts X-User-Email, signs tokens that production refuses, and prints each request.

    The commands below are for another terminal, while it runs.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = data_dir
        return
    from idp.cli.dev_discovery import default_folder
    from idp.cli.server import until_stopped

    started = time.monotonic()
    redirect_uris = _redirect_uris(clients)
    with until_stopped():
        # Loading the modules takes a second, starting PostgreSQL nearly as long: do both in parallel.
        loading = threading.Thread(target=_import_service, daemon=True)
        loading.start()
        try:
            path = (data_dir or default_folder()).absolute()
            listeners = _listeners(path, port, processes)
            options = _Options(started, redirect_uris, fresh=fresh, quiet=quiet)
            _run(path, listeners, loading, options)
        except SystemExit:
            _exit_if_loading(loading)
            raise
        finally:
            loading.join(_LOAD_SECONDS)


def _exit_if_loading(loading: threading.Thread) -> None:
    """Exit immediately if modules are still loading: a normal exit would wait for them, or print errors.

    All child processes are already stopped.
    """
    if loading.is_alive():
        sys.stdout.flush()
        os._exit(0)


def _import_service() -> None:
    with suppress(BaseException):  # the main thread imports these modules too and reports the failure
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

    settings = load("development").settings
    host = "0.0.0.0" if settings.dev.in_container else "127.0.0.1"  # noqa: S104
    first = settings.server.port if port is None else port
    example = _EXAMPLE.format(port=first + 1 if first < 65535 else 0)
    try:
        listeners = [bind(host, first, hint=f"stop it, or choose another port, for example: {example}")]
    except PortTaken:
        running = url_on(first, path)
        if running is None:
            raise
        raise PortTaken(
            f"`idp dev` already runs with this data at {running}: use it, stop it with Ctrl-C in its terminal, "
            f"or start another instance: {example} --data-dir {path}-2."
        ) from None
    bound_port = listeners[0].getsockname()[1]
    return listeners + [_next_port(host, bound_port + number) for number in range(1, processes)]


def _next_port(host: str, port: int) -> "socket.socket":
    """Bind this port, or any free one if it is in use."""
    from idp.cli.server import PortTaken, bind

    try:
        return bind(host, port, hint="")
    except (PortTaken, OverflowError):
        return bind(host, 0, hint="")


def _redirect_uris(clients: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the redirect URIs of `--client`, by client id.

    Raises:
        click.UsageError: a value is not NAME=URI, or the URI cannot be registered.
    """
    from idp.provider.client_ids import id_problem
    from idp.provider.client_uris import redirect_problem

    found: dict[str, list[str]] = {}
    for each in clients:
        name, equals, uri = each.partition("=")
        if not equals:
            raise click.UsageError(f"--client {each}: write NAME=URI, such as web=http://localhost:9401/callback.")
        if problem := id_problem(name) or redirect_problem(uri, native=False):
            raise click.UsageError(f"--client {each}: {problem}")
        found.setdefault(name, []).append(uri)
    return found


class _Options(NamedTuple):
    """The options of a run, and when it started (`time.monotonic`)."""

    started: float
    redirect_uris: dict[str, list[str]]
    fresh: bool
    quiet: bool


def _run(path: Path, listeners: "list[socket.socket]", loading: threading.Thread, options: _Options) -> None:
    """Start the database servers, serve, and always stop them."""
    from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, FolderInUse
    from idp.dev.folder import DevFolder

    folder = DevFolder(path)
    try:
        if options.fresh:
            folder.clear()
        else:
            folder.remove_stale_discovery()
    except FolderInUse as error:
        raise _in_use(path, error) from None
    postgres, valkey = EmbeddedPostgres(path), EmbeddedValkey()
    try:
        postgres.start()  # from here on no other process uses the folder
        valkey.start()
        loading.join()
        from idp.cli.dev_run import DevRun, Servers

        servers = Servers(postgres, valkey)
        try:
            DevRun(
                folder,
                listeners,
                servers,
                started=options.started,
                quiet=options.quiet,
                redirect_uris=options.redirect_uris,
            ).serve()
        finally:
            folder.clear_discovery()
    finally:
        valkey.stop()
        postgres.stop()


def _in_use(path: Path, error: Exception) -> Exception:
    """Return the error for a data folder in use, with the URL of the running `idp dev`."""
    from idp.cli.dev_discovery import find_running_dev
    from idp.cli.failure import Failure

    facts = find_running_dev(path)
    return Failure(f"{error} `idp dev` runs there at {facts.base_urls[0]}.") if facts else error
