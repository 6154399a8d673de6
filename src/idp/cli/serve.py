"""`idp serve`: production."""

from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from idp.settings import LoadedSettings, Settings


@click.command()
@click.option("--host", help="The address to listen on; server.host by default.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; PORT, or 8000, by default.")
def serve(host: str | None, port: int | None) -> None:
    """Serve in production. Needs DATABASE_URL and IDP_SECRET_KEY, and refuses unsafe settings."""
    from idp.cli.server import until_stopped

    with until_stopped():
        _serve({"server.host": host, "server.port": port})


def _serve(asked: dict[str, Any]) -> None:
    from idp.cli.production import load_production

    loaded = load_production({path: value for path, value in asked.items() if value is not None})
    settings = loaded.settings

    import structlog

    from idp.app import create_app
    from idp.cli.server import bind, run
    from idp.ops import logging

    logging.configure(settings.logging)
    log = structlog.get_logger("idp.serve")
    _say_what_is_odd(log, loaded)
    app = create_app(loaded)
    listener = bind(settings.server.host, settings.server.port, hint="stop it, or set PORT to another one")
    listeners = [listener]
    if settings.server.metrics_port is not None:
        hint = "stop it, or set IDP_METRICS_PORT to another one"
        listeners.append(bind(settings.server.host, settings.server.metrics_port, hint=hint))
    _prepare_database(log, settings)
    log.info("serving", address=f"http://{settings.server.host}:{listener.getsockname()[1]}")
    run(app, settings.server, *listeners)


def _say_what_is_odd(log: Any, loaded: "LoadedSettings") -> None:
    from idp.parts import public_url
    from idp.settings import misspelt, set_but_unused

    if loaded.settings.server.public_url is None:
        log.warning("IDP_PUBLIC_URL is not set: tokens name this issuer", issuer=public_url(loaded.settings))
    for sentence in misspelt():
        log.warning(sentence)
    for path in set_but_unused(loaded):
        log.warning("this setting is understood and not used by this version yet", setting=path)


def _prepare_database(log: Any, settings: "Settings") -> None:
    """Migrate if asked to, and refuse a database that is behind; one that is away may come back while we serve."""
    import logging

    from idp.cli.database import judged, migrate_now, with_database
    from idp.cli.database_trouble import DatabaseAway
    from idp.db.migrate import current

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it lists its plugins, and we say what was done
    if settings.database.run_migrations:
        for sentence in migrate_now(settings):
            log.info(sentence)
        return
    try:
        exact, sentence = judged(with_database(settings, current))
    except DatabaseAway as error:
        log.warning("the database does not answer yet; /readyz says 503 until it does", reason=str(error))
        return
    if not exact:
        log.warning(sentence)
