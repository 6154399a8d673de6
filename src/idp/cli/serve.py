"""`idp serve`: run the service in production."""

from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from socket import socket

    from idp.settings import Settings


@click.command()
@click.option("--host", help="The address to listen on; default: server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; default: PORT, or 8000.")
@click.option(
    "--workers", type=click.IntRange(1, 512), help="Processes that share the port; default: WEB_CONCURRENCY, or 1."
)
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Run in production. Requires DATABASE_URL and IDP_SECRET_KEY; refuses unsafe settings."""
    from idp.cli.server import until_stopped
    from idp.settings import load

    options = {"server.host": host, "server.port": port, "server.workers": workers}
    overrides = {path: value for path, value in options.items() if value is not None}
    with until_stopped():
        server = load("production", overrides=overrides).settings.server
        if server.workers == 1:
            _serve(overrides)
        else:
            _supervise(overrides)


def _supervise(overrides: dict[str, Any]) -> None:
    """Run several processes. What this one imports stays in memory, so it leaves the rest to them."""
    from idp.cli.workers.supervisor import Supervisor
    from idp.ops import logging
    from idp.settings import load

    settings = load("production", overrides=overrides).settings
    logging.configure(settings.logging)
    Supervisor(_bind(settings), overrides).run()


def _bind(settings: "Settings") -> "list[socket]":
    from idp.cli.server import bind

    server = settings.server
    listeners = [bind(server.host, server.port, hint="stop it, or set another PORT")]
    if server.metrics_port is not None:
        listeners.append(bind(server.host, server.metrics_port, hint="stop it, or set another IDP_METRICS_PORT"))
    return listeners


def _serve(overrides: dict[str, Any]) -> None:
    from idp.cli.production import load_production

    loaded = load_production(overrides)
    settings = loaded.settings

    import structlog

    from idp.app import create_app
    from idp.cli.preparation_process import prepare_in_fork
    from idp.cli.server import run
    from idp.cli.start_warnings import log_warnings
    from idp.ops import logging
    from idp.users.passwords import check_shared_memory

    logging.configure(settings.logging)
    log = structlog.get_logger("idp.serve")
    log_warnings(log, loaded)
    check_shared_memory()
    app = create_app(loaded)
    listeners = _bind(settings)
    prepare_in_fork(log, settings)
    log.info("serving", address=f"http://{settings.server.host}:{listeners[0].getsockname()[1]}")
    run(app, settings.server, *listeners)
