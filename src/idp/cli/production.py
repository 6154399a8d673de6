"""Load the settings of production commands."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.settings import LoadedSettings, Settings


def load_production(overrides: Mapping[str, Any] | None = None) -> "LoadedSettings":
    """Load the production settings.

    Raises:
        SettingsError: unsafe values, all at once, and misspelt variables.
    """
    from idp.settings import load

    return _checked(load("production", overrides=overrides))


def load_production_for_database() -> "LoadedSettings":
    """Load the settings as `load_for_database`, for a command that also needs the root secret.

    Raises:
        SettingsError: as `load_production`.
    """
    return _checked(load_for_database())


def _checked(loaded: "LoadedSettings") -> "LoadedSettings":
    from idp.settings import SettingsError, unknown_variables

    if problems := unsafe(loaded.settings):
        raise SettingsError([*problems, *unknown_variables()])
    return loaded


def load_for_database() -> "LoadedSettings":
    """Load the settings of a command that connects to the database directly.

    If no database is configured, it is that of the running `idp dev`.
    """
    from idp.cli.dev_discovery import default_folder, find_running_dev
    from idp.cli.notices import remark
    from idp.settings import Secret, load

    loaded, dev = load("production"), find_running_dev()
    if dev is None or not dev.database_url:
        return loaded
    if loaded.settings.database.url is not None:
        source = loaded.sources.get("database.url", "a file").removeprefix("env ")
        remark(f"Using the database in {source}, not the `idp dev` at {dev.base_urls[0]}.")
        return loaded
    remark(f"Using the database of the `idp dev` at {dev.base_urls[0]}.")
    overrides: dict[str, Any] = {"database.url": Secret(dev.database_url)}
    secret = default_folder() / "secret_key"
    if loaded.settings.secrets.secret_key is None and secret.is_file():
        overrides["secrets.secret_key"] = Secret(secret.read_text("utf-8").strip())
    return load("production", overrides=overrides)


def unsafe(settings: "Settings") -> list[str]:
    """Return a sentence for each unsafe setting, including invalid database URLs and issuers without an audience."""
    from idp.clerk.settings_check import check_clerk
    from idp.deployment import configured_issuers
    from idp.federation.settings_check import check_federation
    from idp.pages.brand import load_brand
    from idp.settings import SettingsError
    from idp.settings_safety import refuse_unsafe

    problems = []
    checks = (refuse_unsafe, configured_issuers, check_clerk, _check_kafka, lambda each: load_brand(each.pages))
    for check in (*checks, lambda each: check_federation(each.federation)):
        try:
            check(settings)
        except SettingsError as error:
            problems += [each for each in error.problems if each not in problems]
    return problems + unusable_addresses(settings)


def _check_kafka(settings: "Settings") -> None:
    if settings.kafka.bootstrap_servers:  # otherwise librdkafka is not loaded
        from idp.events.kafka import check_kafka

        check_kafka(settings)


def unusable_addresses(settings: "Settings") -> list[str]:
    """Return a sentence for each invalid database URL."""
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
