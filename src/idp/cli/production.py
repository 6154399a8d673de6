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
    from idp.settings import load

    return _checked(load("production", overrides=overrides))


def load_production_for_database() -> "LoadedSettings":
    """Build the settings as `load_for_database` does, for a command that needs the root secret, too.

    Raises:
        SettingsError: as `load_production`.
    """
    return _checked(load_for_database())


def _checked(loaded: "LoadedSettings") -> "LoadedSettings":
    from idp.settings import SettingsError, misspelt

    if problems := unsafe(loaded.settings):
        raise SettingsError([*problems, *misspelt()])
    return loaded


def load_for_database() -> "LoadedSettings":
    """Build the settings of a command that opens the database itself.

    Where the environment and the files name no database, it is that of the `idp dev` that runs here.
    """
    from idp.cli.dev_discovery import default_folder, find_running_dev
    from idp.cli.notices import remark
    from idp.settings import Secret, load

    loaded, dev = load("production"), find_running_dev()
    if dev is None or not dev.database_url:
        return loaded
    if loaded.settings.database.url is not None:
        source = loaded.sources.get("database.url", "a file").removeprefix("env ")
        remark(f"{source} names the database: this command does not use the `idp dev` at {dev.base_urls[0]}.")
        return loaded
    remark(f"This command uses the database of the `idp dev` at {dev.base_urls[0]}.")
    overrides: dict[str, Any] = {"database.url": Secret(dev.database_url)}
    secret = default_folder() / "secret_key"
    if loaded.settings.secrets.secret_key is None and secret.is_file():
        overrides["secrets.secret_key"] = Secret(secret.read_text("utf-8").strip())
    return load("production", overrides=overrides)


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
