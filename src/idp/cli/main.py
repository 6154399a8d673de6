"""`idp`: the command, and what every failure looks like."""

import sys

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


def main() -> None:
    """Run the command. A failure that was foreseen is one sentence on stderr and exit code 1."""
    from idp.cli.failure import explain

    try:
        cli(standalone_mode=True)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(sentence, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
