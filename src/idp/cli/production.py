"""The settings of every command that touches production."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.settings import LoadedSettings, Settings


def load_production(overrides: Mapping[str, Any] | None = None) -> "LoadedSettings":
    """Build the settings of production.

    Raises:
        SettingsError: what must not run in production, all of it at once; and variables that are nearly settings.
    """
    from idp.settings import SettingsError, load, misspelt

    loaded = load("production", overrides=overrides)
    if problems := unsafe(loaded.settings):
        raise SettingsError([*problems, *misspelt()])
    return loaded


def unsafe(settings: "Settings") -> list[str]:
    """Return a sentence for each thing that must not run in production, unusable database addresses included."""
    from idp.settings import SettingsError
    from idp.settings_safety import refuse_unsafe

    try:
        refuse_unsafe(settings)
        problems = []
    except SettingsError as error:
        problems = error.problems
    return problems + unusable_addresses(settings)


def unusable_addresses(settings: "Settings") -> list[str]:
    """Return a sentence for each address of the database that cannot be one."""
    from idp.db.address import DatabaseUrlError, parse

    database = settings.database
    problems = []
    for name, url in (
        ("DATABASE_URL", database.url),
        ("DATABASE_DIRECT_URL", database.direct_url),
        ("DATABASE_MIGRATION_URL", database.migration_url),
    ):
        try:
            if url is not None:
                parse(url.reveal())
        except DatabaseUrlError as error:
            problems.append(str(error).replace("DATABASE_URL", name))
    return problems
