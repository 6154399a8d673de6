"""Command groups: one suggests a similar name for an unknown command, the other imports its commands on use."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import rich_click as click

# Common names of commands that have another name here.
_SYNONYMS = {
    "add": ("create", "invite"),
    "get": ("show",),
    "info": ("show",),
    "kill": ("revoke", "sign-out"),
    "logout": ("sign-out",),
    "ls": ("list",),
    "make": ("create",),
    "new": ("create",),
    "remove": ("delete", "revoke"),
    "rm": ("delete", "revoke"),
    "run": ("serve", "dev"),
    "start": ("serve", "dev"),
    "upgrade": ("migrate",),
}
_MIN_SIMILARITY = 0.6


class SuggestingGroup(click.RichGroup):
    """Fails with "did you mean" for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named by the first argument, as click does. Raises click's UsageError."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"{ctx.command_path} has no command {name!r}.{self._suggestion(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        known = self.list_commands(ctx)
        alike = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_MIN_SIMILARITY)
        alike = alike or [each for each in _SYNONYMS.get(name.lower(), ()) if each in known]
        if not alike:
            return f" It has {', '.join(known)}."
        return f" Did you mean {' or '.join(f'`{ctx.command_path} {each}`' for each in alike)}?"


class LazyGroup(SuggestingGroup):
    """Imports its commands on use, so that `--help` is fast.

    Attributes:
        commands_by_name: module and name of each command, in the order of `--help`.
    """

    commands_by_name: ClassVar[Mapping[str, tuple[str, str]]]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names, as click does."""
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, None for an unknown name, as click does."""
        if cmd_name not in self.commands_by_name:
            return None
        module, name = self.commands_by_name[cmd_name]
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found
