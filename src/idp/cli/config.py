"""`idp config show` and `idp config check`."""

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.settings import Profile

_PROFILES = click.Choice(["production", "development"])


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Show and check the settings."""


@config.command()
@click.option("--profile", type=_PROFILES, default="production", show_default=True)
@with_output
def show(profile: "Profile", output: str) -> None:
    """Print every setting with its value and source. Secrets are hidden."""
    from idp.settings import fields, load, shown_value, value_of

    loaded = load(profile)
    values = {path: shown_value(value_of(loaded.settings, path)) for path, _kind in fields()}
    sources = {path: loaded.sources.get(path, "default") for path in values}
    if output == "json":
        import msgspec

        listed = {path: {"value": value, "source": sources[path]} for path, value in values.items()}
        print(msgspec.json.format(msgspec.json.encode(listed), indent=2).decode())
        return
    from idp.cli.tables import Cell, Column, print_table

    rows = [
        [
            Cell(path, "bold"),
            Cell(_in_words(value)),
            Cell(sources[path], "dim" if sources[path] == "default" else ""),
        ]
        for path, value in values.items()
    ]
    print_table((Column("Setting"), Column("Value", wraps=True), Column("From", wraps=True, spare=1)), rows)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name}: {shown}" for name, shown in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    if isinstance(value, bool):
        return str(value).lower()
    return "(unset)" if value is None else str(value)


@config.command()
@click.option("--profile", type=_PROFILES, default="production", show_default=True)
@click.option("--online", is_flag=True, help="Also fetch what every configured issuer and provider publishes.")
@with_output
def check(profile: "Profile", online: bool, output: str) -> None:
    """Check the settings: unknown and misspelt names, invalid values, and values that are unsafe in production."""
    from idp.clerk.settings_check import notes_on_clerk
    from idp.cli.issuers import unreachable_issuers, unreachable_providers
    from idp.cli.production import unsafe
    from idp.deployment import rules_for_admin
    from idp.federation.settings_check import problems_of
    from idp.settings import SettingsError, ineffective_settings, load, unknown_variables, unused_variables

    problems, notes = unknown_variables(), unused_variables()
    try:
        settings = load(profile).settings
    except SettingsError as error:
        problems += error.problems
    else:
        problems += unsafe(settings) if profile == "production" else problems_of(settings.federation)
        notes += ineffective_settings(settings) + rules_for_admin(settings) + list(notes_on_clerk(settings))
        if online and not problems:
            problems += unreachable_issuers(settings, profile) + unreachable_providers(settings, profile)
    if output == "json":
        from idp.cli.tables import print_json

        print_json({"good": not problems, "problems": problems, "notes": notes})
    else:
        for sentence in [*problems, *notes]:
            print(sentence, file=sys.stderr)
    if problems:
        sys.exit(1)
    if output == "table":
        print("The settings are valid.")
