"""The commands in one group."""

import rich_click as click

from idp import __version__
from idp.cli import config, database, dev, keys, routes, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="idp")
def cli() -> None:
    """Who is calling, and what are they in this organisation?"""


cli.add_command(dev.dev)
cli.add_command(serve.serve)
cli.add_command(database.migrate)
cli.add_command(database.check_db)
cli.add_command(config.config)
cli.add_command(routes.routes)
cli.add_command(keys.keys)
