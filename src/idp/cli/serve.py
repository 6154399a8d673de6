"""`idp serve`: production."""

import rich_click as click


@click.command()
@click.option("--host", help="The address to listen on; server.host by default.")
@click.option("--port", type=int, help="The port to listen on; PORT, or 8000, by default.")
def serve(host: str | None, port: int | None) -> None:
    """Serve in production. Needs DATABASE_URL and IDP_SECRET_KEY, and refuses unsafe settings."""
    import structlog

    from idp.app import create_app, public_url
    from idp.cli.server import bind, uvicorn_server
    from idp.ops import logging
    from idp.settings import load, refuse_unsafe, set_but_unused

    overrides = {"server.host": host, "server.port": port}
    loaded = load("production", overrides={path: value for path, value in overrides.items() if value is not None})
    settings = loaded.settings
    refuse_unsafe(settings)
    logging.configure(settings.logging)
    log = structlog.get_logger("idp.serve")
    if settings.server.public_url is None:
        log.warning("IDP_PUBLIC_URL is not set: tokens name this issuer", issuer=public_url(settings))
    for path in set_but_unused(loaded):
        log.warning("this setting is understood and not used by this version yet", setting=path)
    if settings.database.run_migrations:
        from idp.cli.database import migrate_now

        migrate_now(settings)
    app = create_app(loaded)
    listener = bind(settings.server.host, settings.server.port, hint="stop it, or set PORT to another one")
    log.info("serving", address=f"http://{settings.server.host}:{listener.getsockname()[1]}")
    uvicorn_server(app, settings.server).run(sockets=[listener])
