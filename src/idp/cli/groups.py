"""A command group that suggests a similar name for an unknown command."""

import difflib

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
