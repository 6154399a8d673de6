"""`idp config show` and `idp config check`."""

import sys
from typing import Any

import rich_click as click

from idp.settings import Profile

_PROFILES = click.Choice(["production", "development"])


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@click.option("--profile", type=_PROFILES, default="production", show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(profile: Profile, output: str) -> None:
    """Print every setting, its value and where it came from. Secrets are hidden."""
    from idp.settings import fields, load
    from idp.settings_schema import NOT_YET_USED

    loaded = load(profile)
    rows = []
    for path, _kind in fields():
        section, key = path.split(".")
        value = _shown(getattr(getattr(loaded.settings, section), key))
        rows.append((path, value, loaded.sources.get(path, "default"), path in NOT_YET_USED))
    if output == "json":
        import msgspec

        print(msgspec.json.encode({p: {"value": v, "source": s} for p, v, s, _ in rows}).decode())
        return
    _print_table(rows)


def _shown(value: Any) -> str:
    from idp.settings import Secret

    if isinstance(value, Secret):
        return "(hidden)"
    if isinstance(value, tuple):
        return ", ".join(_shown(item) for item in value) or "(none)"
    return "(unset)" if value is None else str(value)


def _print_table(rows: list[tuple[str, str, str, bool]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("Setting", "Value", "From"):
        table.add_column(heading, overflow="fold")
    for path, value, source, unused in rows:
        note = " (no effect yet)" if unused else ""
        table.add_row(path, value, f"[dim]{source}{note}[/dim]" if source == "default" or unused else source)
    Console().print(table)


@config.command()
@click.option("--profile", type=_PROFILES, default="production", show_default=True)
def check(profile: Profile) -> None:
    """Check the settings: unknown and misspelt names, values that do not fit, and what production refuses."""
    from idp.settings import SettingsError, load, misspelt, refuse_unsafe

    problems = misspelt()
    try:
        settings = load(profile).settings
        if profile == "production":
            refuse_unsafe(settings)
    except SettingsError as error:
        problems += error.problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print("The settings are good.")
