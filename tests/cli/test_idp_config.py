"""`idp config`: effective values, their sources, and misspelt names; never a secret."""

import json
import secrets
import shutil
from pathlib import Path

import pytest

from cli.support import ROOT, idp, refusal, root_secret
from idp.settings import environment_names, fields
from idp.settings_values import is_list, is_secret

SECRET_NAMES = [environment_names(path)[0] for path, kind in fields() if is_secret(kind)]


def every_secret() -> dict[str, str]:
    """Return a value that can be recognised for every secret there is."""
    values = {name: f"hush{secrets.token_hex(20)}" for name in SECRET_NAMES}
    addresses = {"DATABASE__URL", "DATABASE__DIRECT_URL", "DATABASE__MIGRATION_URL"}
    return {
        name: f"postgresql://idp:{value}@127.0.0.1:1/idp" if name.removeprefix("IDP_") in addresses else value
        for name, value in values.items()
    } | {"IDP_VALKEY__URL": f"valkey://:hush{secrets.token_hex(20)}@127.0.0.1:1"}


@pytest.mark.parametrize("command", [["show"], ["show", "-o", "json"], ["show", "--profile", "development"], ["check"]])
def test_no_secret_is_ever_printed(command: list[str]) -> None:
    environ = every_secret() | {"IDP_AUTHN__PLUGIN_SETTINGS": '{"acme": {"key": "hush-plugin"}}'}
    done = idp("config", *command, **environ)
    assert "hush" not in done.stdout + done.stderr
    if "show" in command:
        assert done.returncode == 0
        assert done.stdout.count("(hidden)") == len(SECRET_NAMES) + 1


def test_show_prints_every_setting_with_its_value_and_its_source() -> None:
    done = idp("config", "show", PORT="8001", ALLOWED_ORIGINS="https://a.example,https://b.example")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(rows) == {"Setting"} | {path for path, _ in fields()}
    assert rows["server.port"].split() == ["server.port", "8001", "env", "PORT"]
    assert rows["cors.origins"].split()[1:] == ["https://a.example,", "https://b.example", "env", "ALLOWED_ORIGINS"]
    assert rows["server.host"].split()[1:] == ["0.0.0.0", "config/idp.toml"]
    assert rows["server.public_url"].split()[1:] == ["(unset)", "default"]
    assert rows["logging.format"].split()[1:] == ["json", "config/production.toml"]
    assert rows["database.run_migrations"].split()[1] == "false"


def test_show_as_json_has_values_of_their_own_kind() -> None:
    environ = {"PORT": "8001", "IDP_SECRET_KEY": root_secret(), "IDP_PREVIOUS_SECRET_KEYS": "one,two"}
    shown = json.loads(idp("config", "show", "-o", "json", **environ).stdout)
    assert set(shown) == {path for path, _ in fields()}
    assert shown["server.port"] == {"value": 8001, "source": "env PORT"}
    assert shown["server.public_url"] == {"value": None, "source": "default"}
    assert shown["authn.allow_dev_headers"] == {"value": False, "source": "config/production.toml"}
    assert shown["secrets.secret_key"] == {"value": "(hidden)", "source": "env IDP_SECRET_KEY"}
    assert shown["secrets.previous_secret_keys"]["value"] == ["(hidden)", "(hidden)"]
    for path, kind in fields():
        assert isinstance(shown[path]["value"], list) is is_list(kind), path


def test_show_names_the_profiles_own_file() -> None:
    shown = json.loads(idp("config", "show", "--profile", "development", "-o", "json").stdout)
    assert shown["authn.allow_dev_headers"] == {"value": True, "source": "config/dev.toml"}


def test_another_folder_of_settings_is_named_as_the_source(tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "config", tmp_path / "config")
    (config / "production.toml").write_text("[server]\nport = 9000\n")
    shown = json.loads(idp("config", "show", "-o", "json", IDP_CONFIG_DIR=str(config)).stdout)
    assert shown["server.port"] == {"value": 9000, "source": str(config / "production.toml")}


def test_good_settings_are_called_good() -> None:
    done = idp("config", "check", DATABASE_URL="postgresql://idp:x@db/idp", AUTH_JWT_SECRET_KEY=root_secret())
    assert (done.returncode, done.stdout, done.stderr) == (0, "The settings are valid.\n", "")


def test_a_logo_that_cannot_be_used_is_named() -> None:
    environ = {"DATABASE_URL": "postgresql://idp:x@db/idp", "IDP_SECRET_KEY": root_secret()}
    said = refusal("config", "check", IDP_PAGES__LOGO="/nowhere/logo.svg", **environ)
    assert said == (
        "pages.logo: /nowhere/logo.svg cannot be read (No such file or directory): name an SVG or PNG file.\n"
    )


def test_the_variables_of_the_other_commands_are_known() -> None:
    """IDP_URL and IDP_TOKEN say where `idp tokens` and its like go, and as whom."""
    theirs = {"IDP_URL": "https://id.example.com", "IDP_TOKEN": "x", "IDP_TOKEN_FILE": "/nowhere"}
    environ = {"DATABASE_URL": "postgresql://idp:x@db/idp", "IDP_SECRET_KEY": root_secret()}
    done = idp("config", "check", **theirs, **environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_development_needs_nothing() -> None:
    assert idp("config", "check", "--profile", "development").returncode == 0


def test_a_misspelt_variable_is_named_with_the_right_one() -> None:
    said = refusal(
        "config", "check", DATABASE_URL="postgresql://idp:x@db/idp", IDP_SECRET_KEY=root_secret(), DB_POOL_SISE="5"
    )
    assert said == "DB_POOL_SISE in the environment is not a setting: did you mean DB_POOL_SIZE?\n"


def test_a_misspelt_key_in_a_file_is_named_with_the_right_one(tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "config", tmp_path / "config")
    (config / "production.toml").write_text("[rate_limits]\nfailed_logins_per_par = 5\n")
    said = refusal("config", "check", IDP_CONFIG_DIR=str(config))
    assert said == (
        f"rate_limits.failed_logins_per_par in {config}/production.toml is not a setting: "
        "did you mean rate_limits.failed_logins_per_pair?\n"
    )


def test_all_problems_are_reported_at_once() -> None:
    said = refusal(
        "config", "check", DATABASE_URL="mysql://h/d", ADMIN_TOKEN="short", AUTH_API_CORS_ORIGINS="*", LOG_LEVLE="info"
    )
    starts = [line.split()[0] for line in said.splitlines()]
    assert starts == ["LOG_LEVLE", "IDP_SECRET_KEY", "ADMIN_TOKEN", "AUTH_API_CORS_ORIGINS", "DATABASE_URL"]
