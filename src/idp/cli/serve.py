"""`idp serve`: run the service in production."""

from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from idp.settings import LoadedSettings


@click.command()
@click.option("--host", help="The address to listen on; default: server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; default: PORT, or 8000.")
def serve(host: str | None, port: int | None) -> None:
    """Run in production. Requires DATABASE_URL and IDP_SECRET_KEY; refuses unsafe settings."""
    from idp.cli.server import until_stopped

    with until_stopped():
        _serve({"server.host": host, "server.port": port})


def _serve(options: dict[str, Any]) -> None:
    from idp.cli.production import load_production

    loaded = load_production({path: value for path, value in options.items() if value is not None})
    settings = loaded.settings

    import structlog

    from idp.app import create_app
    from idp.cli.preparation import prepare_database
    from idp.cli.server import bind, run
    from idp.ops import logging
    from idp.users.passwords import check_shared_memory

    logging.configure(settings.logging)
    log = structlog.get_logger("idp.serve")
    _log_warnings(log, loaded)
    check_shared_memory()
    app = create_app(loaded)
    listener = bind(settings.server.host, settings.server.port, hint="stop it, or set another PORT")
    listeners = [listener]
    if settings.server.metrics_port is not None:
        hint = "stop it, or set another IDP_METRICS_PORT"
        listeners.append(bind(settings.server.host, settings.server.metrics_port, hint=hint))
    prepare_database(log, settings)
    log.info("serving", address=f"http://{settings.server.host}:{listener.getsockname()[1]}")
    run(app, settings.server, *listeners)


def _log_warnings(log: Any, loaded: "LoadedSettings") -> None:
    from idp.deployment import public_url
    from idp.settings import ineffective_settings, unknown_variables, unused_variables

    if loaded.settings.server.public_url is None:
        log.warning("IDP_PUBLIC_URL is not set; tokens use this issuer", issuer=public_url(loaded.settings))
    for sentence in [*unknown_variables(), *unused_variables(), *ineffective_settings(loaded.settings)]:
        log.warning(sentence)
