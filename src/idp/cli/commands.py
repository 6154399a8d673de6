"""The root command group. Commands are imported on use, so that `--help` is fast."""

import rich_click as click

from idp import __version__
from idp.cli.groups import LazyGroup

# In the order of `--help`: module and name.
_COMMANDS = {
    "dev": ("idp.cli.dev", "dev"),
    "serve": ("idp.cli.serve", "serve"),
    "relay": ("idp.cli.relay", "relay"),
    "migrate": ("idp.cli.database", "migrate"),
    "check-db": ("idp.cli.database", "check_db"),
    "doctor": ("idp.cli.doctor", "doctor"),
    "backup": ("idp.cli.backup", "backup"),
    "restore": ("idp.cli.backup", "restore"),
    "clear-development-mark": ("idp.cli.development_mark", "clear_development_mark"),
    "config": ("idp.cli.config", "config"),
    "routes": ("idp.cli.routes", "routes"),
    "tokens": ("idp.cli.tokens", "tokens"),
    "keys": ("idp.cli.keys", "keys"),
    "clients": ("idp.cli.clients", "clients"),
    "users": ("idp.cli.users", "users"),
    "explain": ("idp.cli.explain", "explain"),
    "webhooks": ("idp.cli.webhooks", "webhooks"),
    "audit": ("idp.cli.audit", "audit"),
    "events": ("idp.cli.events", "events"),
    "clerk": ("idp.cli.clerk", "clerk"),
    "import": ("idp.cli.imports", "import_"),
    "export-legacy": ("idp.cli.exports", "export_legacy"),
    "convert": ("idp.cli.exports", "convert"),
    "signing-keys": ("idp.cli.signing_keys", "signing_keys"),
}


class _Commands(LazyGroup):
    commands_by_name = _COMMANDS


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="idp")
def cli() -> None:
    """Identity service: authenticates users and machines."""
