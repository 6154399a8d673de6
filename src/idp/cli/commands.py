"""The root command group. Commands are imported on use, so that `--help` is fast."""

from importlib import import_module

import rich_click as click

from idp import __version__
from idp.cli.groups import SuggestingGroup

# In the order of `--help`: module and name.
_COMMANDS = {
    "dev": ("idp.cli.dev", "dev"),
    "serve": ("idp.cli.serve", "serve"),
    "migrate": ("idp.cli.database", "migrate"),
    "check-db": ("idp.cli.database", "check_db"),
    "clear-development-mark": ("idp.cli.development_mark", "clear_development_mark"),
    "config": ("idp.cli.config", "config"),
    "routes": ("idp.cli.routes", "routes"),
    "tokens": ("idp.cli.tokens", "tokens"),
    "keys": ("idp.cli.keys", "keys"),
    "users": ("idp.cli.users", "users"),
    "explain": ("idp.cli.explain", "explain"),
    "webhooks": ("idp.cli.webhooks", "webhooks"),
    "audit": ("idp.cli.audit", "audit"),
    "signing-keys": ("idp.cli.signing_keys", "signing_keys"),
}


class _Commands(SuggestingGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="idp")
def cli() -> None:
    """Identity service: authenticates users and machines."""
