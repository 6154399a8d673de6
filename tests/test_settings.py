"""Settings: sources, allowed values, and the documentation of each."""

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from idp.db.address import DatabaseUrlError, parse
from idp.errors import PasswordRejected
from idp.settings import (
    Secret,
    Settings,
    SettingsError,
    environment_names,
    fields,
    known_names,
    load,
    root_secret,
    unknown_variables,
    value_of,
)
from idp.settings_safety import refuse_unsafe
from idp.settings_schema import ALIASES, Passwords
from idp.settings_values import is_secret
from idp.users.passwords import Passwords as UserPasswords

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
SECRETS = [path for path, kind in fields() if is_secret(kind)]
STRONG = "vT3-9sQxJr0_LmWq7ZkYbH2nGdUe5RfC"

# The names of the table "Settings" in the contract: each an old service's, or a short one of ours.
PROMISED = {
    "DATABASE_URL", "AUTH_DATABASE_URL", "VALKEY_URL", "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD",
    "PORT", "AUTH_SERVICE_PORT", "IDP_PUBLIC_URL", "API_BASE_URL", "DATABASE_DIRECT_URL", "DATABASE_MIGRATION_URL",
    "IDP_TRUSTED_PROXIES", "INTERNAL_API_TOKEN", "API_KEY_SCOPES", "RUN_MIGRATIONS", "LOG_LEVEL", "DB_POOL_SIZE",
    "DB_MAX_OVERFLOW", "MAX_LOGIN_ATTEMPTS", "RATE_LIMIT_WINDOW", "SESSION_TTL", "IDP_SECRET_KEY",
    "IDP_PREVIOUS_SECRET_KEYS", "AUTH_JWT_SECRET_KEY", "JWT_SECRET_KEY", "AUTH_JWT_PREVIOUS_SECRET_KEYS",
    "AUTH_JWT_ALGORITHM", "JWT_ALGORITHM", "AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    "JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "JWT_REFRESH_TOKEN_EXPIRE_DAYS", "AUTH_JWT_REFRESH_TOKEN_EXPIRE_DAYS",
    "TOKEN_CACHE_TTL", "AUTH_API_CORS_ORIGINS", "ALLOWED_ORIGINS", "AUTH_ALLOW_DEV_HEADERS", "AUTH_OIDC_ISSUER",
    "AUTH_OIDC_AUDIENCE", "AUTH_OIDC_JWKS_URL", "CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET",
    "CLERK_PUBLISHABLE_KEY", "CLERK_SECRET_KEY", "CLERK_JWT_KEY", "CLERK_ISSUER", "CLERK_AUTHORIZED_PARTIES",
    "SMTP_HOST", "SMTP_PORT", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_USE_TLS", "FROM_EMAIL", "FRONTEND_URL",
    "ADMIN_TOKEN", "AUTH_ADMIN_TOKEN", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_CLIENT_ID", "KAFKA_USERS_TOPIC",
    "IDP_SEED_FILE", "IDP_DEV__IN_CONTAINER",
}  # fmt: skip

# What production.toml changes.
PRODUCTION = Settings(passwords=Passwords(refuse_common=True))


def settings(**environ: str) -> Settings:
    return load("production", environ=environ).settings


def problems(**environ: str) -> list[str]:
    """Return what loading these, or starting production with them, is refused for."""
    with pytest.raises(SettingsError) as refused:
        refuse_unsafe(settings(**environ))
    return refused.value.problems


def safe(**environ: str) -> dict[str, str]:
    return {"DATABASE_URL": "postgresql://idp:x@db/idp", "IDP_SECRET_KEY": STRONG} | environ


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the settings files, to be spoilt."""
    return shutil.copytree(CONFIG, tmp_path / "config")


# --- written down ----------------------------------------------------------------------------------------------------


def documented(path: str) -> str:
    """Return the paragraph of config/idp.toml that holds a setting, without those of other sections."""
    section, key = path.split(".")
    text = (CONFIG / "idp.toml").read_text("utf-8")
    body = re.split(r"^\[[a-z_]+\]$", text.partition(f"\n[{section}]\n")[2], flags=re.MULTILINE)[0]
    line = rf"^(# )?({key} = .*|\[{section}\.{key}\])$"
    assert re.search(line, body, re.MULTILINE), f"{path} is not in config/idp.toml"
    return body


@pytest.mark.parametrize("path", [path for path, _ in fields()])
def test_every_setting_is_in_idp_toml_with_a_comment_above_it(path: str) -> None:
    section, key = path.split(".")
    before = re.split(rf"^(?:# )?(?:{key} = |\[{section}\.{key}\]$)", documented(path), flags=re.MULTILINE)[0]
    block = before.rpartition("\n\n")[2]  # related settings share an explanation
    explained = [line for line in block.splitlines() if line.startswith("# ") and not re.match(r"# [a-z_]+ = ", line)]
    assert explained, f"nothing explains {path}"


def test_the_defaults_in_idp_toml_are_those_of_the_code() -> None:
    written = tomllib.loads((CONFIG / "idp.toml").read_text("utf-8"))
    for path, _ in fields():
        section, key = path.split(".")
        default = value_of(Settings(), path)
        if key in written[section]:
            value = written[section][key]
            assert (tuple(value) if isinstance(value, list) else value) == default, path
        else:
            assert default is None, f"{path} has a default and is not set in config/idp.toml"


def test_the_files_alone_give_what_the_code_has() -> None:
    assert settings() == PRODUCTION


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in ALIASES.items() for name in names])
def test_every_other_name_of_a_setting_stands_in_brackets_beside_it(path: str, name: str) -> None:
    comments = "\n".join(line for line in documented(path).splitlines() if line.startswith("#"))
    assert re.search(rf"\[[^\]]*\b{name}\b[^\]]*\]", comments), f"{name} is not in brackets in [{path.split('.')[0]}]"


def test_every_name_of_the_contract_is_understood() -> None:
    """S1-09 to S1-12, S2-31 to S2-35, S3-17 to S3-21: an old service's environment keeps its meaning."""
    assert PROMISED - known_names() == set()


def test_no_name_sets_two_settings() -> None:
    names = [name for path, _ in fields() for name in environment_names(path)]
    assert sorted(names) == sorted(set(names))


def test_only_the_settings_read_the_environment() -> None:
    """Style card 9. `dev/child.py` hands the environment on to PostgreSQL, and the supervisor to its generations."""
    reading = re.compile(r"\bos\.(environ|getenv|putenv)|from os import .*\b(environ|getenv)")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "db").rglob("*.py")]
    readers = {str(file.relative_to(ROOT)) for file in sources if reading.search(file.read_text("utf-8"))}
    handing_on = {"src/idp/dev/child.py", "src/idp/cli/workers/supervisor.py"}
    assert readers == {"src/idp/settings.py", *handing_on}


# --- where a value comes from ----------------------------------------------------------------------------------------


def test_the_environment_is_stronger_than_the_files_and_the_command_is_strongest(config: Path) -> None:
    (config / "production.toml").write_text("[server]\nport = 1001\n")
    environ = {"IDP_CONFIG_DIR": str(config)}

    def port(more: Mapping[str, str], **overrides: Any) -> tuple[int, str]:
        loaded = load("production", environ=environ | dict(more), overrides=overrides)
        return loaded.settings.server.port, loaded.sources["server.port"]

    assert port({}) == (1001, str(config / "production.toml"))
    assert port({"PORT": "1002"}) == (1002, "env PORT")
    assert port({"PORT": "1002"}, **{"server.port": 1003}) == (1003, "command")


def test_each_profile_reads_its_own_file() -> None:
    assert load("development", environ={}).settings.authn.allow_dev_headers is True
    assert load("production", environ={}).settings.authn.allow_dev_headers is False
    assert load("production", environ={}).sources["server.port"] == "config/idp.toml"


@pytest.mark.parametrize("path", [path for path, names in ALIASES.items() if len(names) > 1])
def test_the_first_name_that_is_present_wins_and_an_empty_one_is_absent(path: str) -> None:
    names = environment_names(path)
    kind = dict(fields())[path]
    values = {"tokens.algorithm": ("RS256", "ES256", "HS256")}.get(path) or (
        ("11", "12", "13") if "int" in str(kind) else ("first://a", "second://b", "third://c")
    )

    def shown(environ: dict[str, str]) -> str:
        value = value_of(settings(**environ), path)
        value = value[0] if isinstance(value, tuple) else value
        return value.reveal() if isinstance(value, Secret) else str(value)

    environ = dict(zip(names, values, strict=True))
    for name, value in zip(names, values, strict=True):
        assert shown(environ) == value
        environ[name] = ""


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_is_not_set(blank: str) -> None:
    """Compose spells an absent variable as an empty one."""
    assert settings(PORT=blank, DATABASE_URL=blank, AUTH_API_CORS_ORIGINS=blank, LOG_LEVEL=blank) == PRODUCTION


@pytest.mark.parametrize("path", [path for path, _ in fields()])
def test_every_setting_has_a_name_of_its_own_in_the_environment(path: str) -> None:
    section, key = path.split(".")
    assert environment_names(path)[0] == f"IDP_{section.upper()}__{key.upper()}"


@pytest.mark.parametrize(("path", "name"), [(path, name) for path in SECRETS for name in environment_names(path)])
def test_every_secret_can_be_read_from_a_file(path: str, name: str, tmp_path: Path) -> None:
    """S3-56: what a secrets manager mounts, with or without a newline at its end."""
    (tmp_path / "secret").write_text(f"{STRONG}\n")
    loaded = load("production", environ={f"{name}_FILE": str(tmp_path / "secret")})
    value = value_of(loaded.settings, path)
    assert value in (Secret(STRONG), (Secret(STRONG),))
    assert loaded.sources[path] == f"env {name}_FILE"


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(STRONG)
    said = problems(ADMIN_TOKEN=STRONG, ADMIN_TOKEN_FILE=str(tmp_path / "secret"))
    assert said == ["ADMIN_TOKEN and ADMIN_TOKEN_FILE are both set: remove one of them."]


def test_a_secret_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    missing, empty = str(tmp_path / "missing"), str(tmp_path / "empty")
    assert problems(DATABASE_URL_FILE=missing, IDP_SECRET_KEY_FILE=empty) == [
        f"The file {missing} in DATABASE_URL_FILE cannot be read: No such file or directory.",
        f"The file {empty} in IDP_SECRET_KEY_FILE is empty: write the secret into it, or unset IDP_SECRET_KEY_FILE.",
    ]


def test_a_redis_host_port_and_password_make_an_address(tmp_path: Path) -> None:
    def url(**environ: str) -> str:
        found = settings(**environ).valkey.url
        assert found is not None
        return found.reveal()

    assert url(REDIS_HOST="cache") == "redis://cache:6379/0"
    assert url(REDIS_HOST="cache", REDIS_PORT="6380", REDIS_PASSWORD="p@ss/1") == "redis://:p%40ss%2F1@cache:6380/0"
    assert url(REDIS_HOST="cache", REDIS_URL="redis://other/1") == "redis://other/1"
    (tmp_path / "password").write_text("hush\n")
    assert url(REDIS_HOST="cache", REDIS_PASSWORD_FILE=str(tmp_path / "password")) == "redis://:hush@cache:6379/0"


def test_addresses_that_kubernetes_puts_beside_a_service_are_not_ports() -> None:
    """S3-46: pods beside a Service called `auth-service` get AUTH_SERVICE_PORT=tcp://…, beside `redis` REDIS_PORT."""
    link = "tcp://10.0.0.1:8001"
    found = settings(AUTH_SERVICE_PORT=link, REDIS_HOST="redis", REDIS_PORT=link)
    assert found.server.port == 8000
    assert found.valkey.url == Secret("redis://redis:6379/0")


# --- what a value may be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "level"),
    [("INFO", "info"), ("WARN", "warning"), ("Warning", "warning"), ("DEBUG", "debug"), ("CRITICAL", "error")],
)
def test_other_loggers_level_names_are_understood(text: str, level: str) -> None:
    """S1-12, S4: LOG_LEVEL=INFO and LOG_LEVEL=info are the same."""
    assert settings(LOG_LEVEL=text).logging.level == level


@pytest.mark.parametrize(("text", "on"), [("true", True), ("1", True), ("Yes", True), ("off", False), ("False", False)])
def test_a_switch_can_be_spelt_in_several_ways(text: str, on: bool) -> None:
    assert settings(RUN_MIGRATIONS=text).database.run_migrations is on


def test_lists_are_separated_by_commas() -> None:
    """S3-19, S3-21 and C-06c's list of earlier secrets."""
    found = settings(
        AUTH_API_CORS_ORIGINS="http://localhost:5173, http://localhost:3000,",
        AUTH_OIDC_AUDIENCE="one,two",
        IDP_PREVIOUS_SECRET_KEYS=f"{STRONG}, other",
    )
    assert found.cors.origins == ("http://localhost:5173", "http://localhost:3000")
    assert found.oidc.audience == ("one", "two")
    assert found.secrets.previous_secret_keys == (Secret(STRONG), Secret("other"))


def test_a_table_is_json() -> None:
    found = settings(IDP_AUTHN__PLUGIN_SETTINGS='{"acme": {"header": "X-Acme"}}')
    assert found.authn.plugin_settings == {"acme": {"header": "X-Acme"}}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("PORT", "abc", "server.port is 'abc' (from env PORT): use a whole number from 0 to 65535."),
        ("AUTH_SERVICE_PORT", "70000", "server.port is '70000' (from env AUTH_SERVICE_PORT): use a whole number"),
        ("DB_POOL_SIZE", "0", "database.pool_size is '0' (from env DB_POOL_SIZE): use a whole number from 1 to"),
        ("RUN_MIGRATIONS", "maybe", "database.run_migrations is 'maybe' (from env RUN_MIGRATIONS): use true or false"),
        ("LOG_LEVEL", "loud", "logging.level is 'loud' (from env LOG_LEVEL): use debug, error, info or warning."),
        ("JWT_ALGORITHM", "none", "tokens.algorithm is 'none' (from env JWT_ALGORITHM): use ES256, HS256 or RS256"),
        ("IDP_DATABASE__POOL_TIMEOUT_SECONDS", "0", "use a number above 0, at most 3600."),
        ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "61", "use a whole number from 1 to 60."),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_source_and_what_was_expected(
    name: str, text: str, sentence: str
) -> None:
    (said,) = problems(**{name: text})
    assert sentence in said


def test_a_long_value_is_cut_and_a_secret_one_is_never_shown(config: Path) -> None:
    (config / "production.toml").write_text(
        '[management]\nadmin_token = 123456789\n[clerk]\nwebhook_secrets = "whsec_hush"\n'
        'authorized_parties = [1]\n[authn.plugin_settings]\nacme = "hush"\n'
    )
    said = problems(IDP_CONFIG_DIR=str(config), PORT="9" * 500)
    where = f"(from {config / 'production.toml'})"
    assert f"management.admin_token is a number {where}: use text." in said
    assert f"clerk.webhook_secrets is text {where}: use a list of texts." in said
    assert f"clerk.authorized_parties is [1] {where}: use a list of texts." in said
    assert f"authn.plugin_settings is a table {where}: use a table of tables." in said
    assert max(map(len, said)) < 250
    assert not re.search("hush|123456789", "\n".join(said))


def test_all_invalid_values_are_reported_at_once() -> None:
    assert len(problems(PORT="a", DB_POOL_SIZE="b", DB_MAX_OVERFLOW="c", LOG_LEVEL="d")) == 4


def test_a_secret_never_shows_itself() -> None:
    found = settings(
        IDP_SECRET_KEY=STRONG, IDP_PREVIOUS_SECRET_KEYS=STRONG, DATABASE_URL=f"postgresql://a:{STRONG}@b/c"
    )
    assert STRONG not in repr(found) + str(found) + f"{found.secrets.secret_key}"
    assert STRONG not in str(structs.asdict(found))


# --- names that are none ---------------------------------------------------------------------------------------------


def test_an_unknown_key_in_a_file_is_named_with_the_right_one(config: Path) -> None:
    file = config / "production.toml"
    file.write_text('[server]\nprot = 1\n[databse]\nurl = "x"\n[nonsense]\nkey = 1\n')
    assert problems(IDP_CONFIG_DIR=str(config)) == [
        f"server.prot in {file} is not a setting: did you mean server.port?",
        f"databse.url in {file} is not a setting: did you mean database.url?",
        f"nonsense.key in {file} is not a setting.",
    ]


def test_a_file_that_is_missing_or_no_toml_is_named(config: Path) -> None:
    (config / "idp.toml").unlink()
    (config / "production.toml").write_text("[server\n")
    missing, broken = problems(IDP_CONFIG_DIR=str(config))
    assert missing == f"{config / 'idp.toml'} does not exist: set IDP_CONFIG_DIR to the folder of the settings files."
    assert broken.startswith(f"{config / 'production.toml'} cannot be read: Expected ']'")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IDP_PUBLICURL", "IDP_PUBLIC_URL"),
        ("IDP_SERVER__PROT", "IDP_SERVER__PORT"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("AUTH_JWT_SECRET", "AUTH_JWT_SECRET_KEY"),
        ("JWT_SECRET", "JWT_SECRET_KEY"),
        ("SMTP_USER", "SMTP_USERNAME"),
        ("CLERK_WEBHOOK_SECRETS", "CLERK_WEBHOOK_SECRET"),
        ("IDP_SECRET_KEY_FIEL", "IDP_SECRET_KEY_FILE"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_right_one(name: str, meant: str) -> None:
    assert unknown_variables({name: "x"}) == [f"{name} in the environment is not a setting: did you mean {meant}?"]


def test_other_programs_variables_are_left_alone() -> None:
    theirs = [
        "PATH", "HOME", "USER", "LANG", "TERM", "SHELL", "PWD", "HOSTNAME", "NODE_ENV", "SERVICE_NAME", "PGHOST",
        "PGPORT", "POSTGRES_PASSWORD", "PYTHONPATH", "KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT",
        "IDP_SERVICE_HOST", "IDP_SERVICE_PORT", "IDP_PORT", "IDP_PORT_8000_TCP_ADDR", "AWS_REGION",
        "ECS_CONTAINER_METADATA_URI", "HTTP_PROXY", "SSH_AUTH_SOCK", "AUTH_SERVICE_HOST", "AUTH_PORT_8001_TCP",
        "REDIS_SERVICE_PORT",
    ]  # fmt: skip
    assert unknown_variables(dict.fromkeys(theirs, "x")) == []


def test_every_name_that_is_understood_is_spelt_right() -> None:
    assert unknown_variables(dict.fromkeys(known_names(), "x")) == []


# --- production ------------------------------------------------------------------------------------------------------


def test_the_database_and_a_root_secret_are_enough() -> None:
    """C-06c."""
    assert refuse_unsafe(settings(**safe())) is None


def test_the_shared_secret_stands_in_for_the_root_secret() -> None:
    """C-06c, S3-44: the two variables of the old `docker run` are enough."""
    found = settings(DATABASE_URL="postgresql://idp:x@db/idp", AUTH_JWT_SECRET_KEY=STRONG)
    refuse_unsafe(found)
    assert root_secret(found) == Secret(STRONG)
    assert root_secret(settings(AUTH_JWT_SECRET_KEY="other", IDP_SECRET_KEY=STRONG)) == Secret(STRONG)


def test_nothing_set_is_refused_with_both_sentences() -> None:
    database, secret = problems()
    assert database.startswith("DATABASE_URL is not set: set it to the URL of a PostgreSQL 15 to 18")
    assert secret.startswith("IDP_SECRET_KEY is not set: use at least 32 random characters")


WEAK = {
    "secret": "has 6 characters",
    "s" * 31: "has 31 characters",
    "x" * 40: "looks like a placeholder or a pattern",
    "changeme" * 5: "looks like a placeholder or a pattern",
    "secret" * 7: "looks like a placeholder or a pattern",
    "your-secret-key-of-at-least-32-characters": "looks like a placeholder or a pattern",
    "please-REPLACE-this-before-going-live-now": "looks like a placeholder or a pattern",
    "01010101010101010101010101010101010101": "looks like a placeholder or a pattern",
}


@pytest.mark.parametrize(
    "name",
    [
        "IDP_SECRET_KEY",
        "AUTH_JWT_SECRET_KEY",
        "JWT_SECRET_KEY",
        "ADMIN_TOKEN",
        "IDP_PREVIOUS_SECRET_KEYS",
        "AUTH_JWT_PREVIOUS_SECRET_KEYS",
    ],
)
@pytest.mark.parametrize("value", WEAK)
def test_a_weak_secret_is_refused_without_showing_it(name: str, value: str) -> None:
    """S3-47, SEC-11."""
    (said,) = problems(**safe(**{name: value}))
    # What tokens were signed with before cannot be chosen any more, so the sentence says what can be done.
    advice = (
        "an attacker who guesses it" if name == "AUTH_JWT_PREVIOUS_SECRET_KEYS" else "use at least 32 random characters"
    )
    assert said.startswith(f"{name} {WEAK[value]}: {advice}")
    assert value not in said


@pytest.mark.parametrize("value", [STRONG, "a3f1" * 3 + "09b8c7d6e5f41728394a5b6c7d8e9f01"])
def test_a_random_secret_is_accepted(value: str) -> None:
    assert refuse_unsafe(settings(**safe(IDP_SECRET_KEY=value))) is None
    assert refuse_unsafe(settings(**safe(ADMIN_TOKEN=value[::-1]))) is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AUTH_ALLOW_DEV_HEADERS", "true", "AUTH_ALLOW_DEV_HEADERS is true: dev headers let anyone act as any user"),
        ("AUTH_API_CORS_ORIGINS", "*", "AUTH_API_CORS_ORIGINS contains *: any web page could call"),
        ("ALLOWED_ORIGINS", "https://a.example,https://*.b.example", "AUTH_API_CORS_ORIGINS contains *"),
        ("AUTH_JWT_ALGORITHM", "HS256", "AUTH_JWT_ALGORITHM is HS256 and no shared secret is set"),
        ("IDP_PUBLIC_URL", "id.example.com", "IDP_PUBLIC_URL is 'id.example.com': use a URL such as https://"),
        ("VALKEY_URL", "cache.internal:6379", "VALKEY_URL is not a Valkey URL: use valkey://"),
    ],
)
def test_unsafe_settings_are_refused_in_production(name: str, value: str, sentence: str) -> None:
    """S3-48, S3-50, SEC-12, C-22."""
    (said,) = problems(**safe(**{name: value}))
    assert said.startswith(sentence)


def test_all_problems_are_reported_at_once() -> None:
    said = problems(
        ADMIN_TOKEN="short", AUTH_ALLOW_DEV_HEADERS="1", AUTH_API_CORS_ORIGINS="*", AUTH_JWT_ALGORITHM="HS256"
    )
    assert len(said) == 6


# --- the database's address ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql://u:p@h/d"),
        (
            "postgresql://u:p%40ss@h/d?schema=public&sslmode=require&connection_limit=5",
            "postgresql://u:p%40ss@h/d?sslmode=require",
        ),
        ("postgresql://u:p@h/d?pgbouncer=true&sslmode=prefer", "postgresql://u:p@h/d?sslmode=prefer"),
    ],
)
def test_an_address_of_prisma_or_sqlalchemy_is_understood(given: str, used: str) -> None:
    """S1-09, S3-17, S3-52."""
    assert parse(given).dsn == used


@pytest.mark.parametrize("given", ["mysql://u:hush@h/d", "sqlite:///idp.db", "postgresql:///d", "nothing at all"])
def test_an_address_of_anything_else_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(DatabaseUrlError, match=r"DATABASE_URL .*use postgresql://") as refused:
        parse(given)
    assert "hush" not in str(refused.value)


# --- .env.example ----------------------------------------------------------------------------------------------------


def example() -> dict[str, str]:
    """Return the variables of .env.example, those behind a # included."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return {match[1]: match[2] for line in lines if (match := re.match(r"#?([A-Z][A-Z0-9_]+)=(.*)$", line))}


def test_the_example_environment_knows_one_name_of_every_setting_that_has_a_short_one() -> None:
    """S1-08."""
    known = set(example())
    assert known <= known_names()
    assert [path for path, names in ALIASES.items() if known.isdisjoint(names)] == []


def test_the_example_environment_holds_no_secret_and_shows_true_defaults() -> None:
    for path, kind in fields():
        for name in set(ALIASES.get(path, ())) & set(example()):
            value = example()[name]
            if is_secret(kind):
                assert value == "", name
            elif value and (default := value_of(Settings(), path)) not in (None, ()):
                shown = value_of(settings(**{name: value}), path)
                assert shown == default, name
    assert example()["LOG_LEVEL"] == Settings().logging.level


def test_the_example_environment_lacks_only_what_is_required() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert list(given) == ["DATABASE_URL", "IDP_SECRET_KEY", "IDP_PUBLIC_URL"]
    assert [problem.split()[0] for problem in problems(**given)] == ["DATABASE_URL", "IDP_SECRET_KEY"]
    filled_in = {name: value.replace("<client secret>", STRONG) for name, value in example().items()}
    refuse_unsafe(settings(**(filled_in | safe(IDP_CONFIG_DIR=""))))


@pytest.mark.parametrize(
    "password",
    ["Pat Person", "patperson", "PersonPat2024!", "pat.person-1999", "idp-idp-idp", "Example Corp 1", "corpexample99"],
)
def test_the_users_and_the_services_name_make_no_password_in_production(password: str) -> None:
    """SEC-4."""
    policy = UserPasswords(PRODUCTION.passwords, service=("idp", "Example Corp", "accounts"))
    with pytest.raises(PasswordRejected, match=r"consists of your name|most common"):
        policy.check_policy(password, email="p@example.com", name="Pat Person")
    policy.check_policy("correct horse battery", email="p@example.com", name="Pat Person")
    policy.check_policy("patient zero persona", email="p@example.com", name="Pat Person")


@pytest.mark.parametrize("password", ["AdaLovelace1", "lovelace.ada", "ada_lovelace+2026", "Lovelace-1815!"])
def test_the_local_part_is_the_default_name(password: str) -> None:
    """SEC-4: registering by mail, a reset and an invitation know an address alone."""
    policy = UserPasswords(PRODUCTION.passwords, service=("idp",))
    with pytest.raises(PasswordRejected, match="your e-mail address"):
        policy.check_policy(password, email="Ada.Lovelace@example.com")
    policy.check_policy("ada likes engines", email="Ada.Lovelace@example.com")


@pytest.mark.parametrize(
    ("provider", "sentence"),
    [
        ('audience = ["a"]', "missing required field `issuer`"),
        (
            'issuer = "https://a.example"\naudience = "a"',
            "Expected `array`, got `str` - at `oidc.providers.corp.audience`",
        ),
        ('issuer = "https://a.example"\naudience = ["a"]\nalgorithms = ["HS256"]', "Invalid enum value 'HS256'"),
        ('issuer = "https://a.example"\naudience = ["a"]\nalgorithm = ["RS256"]', "unknown field `algorithm`"),
    ],
)
def test_a_wrong_member_of_an_issuer_is_named(config: Path, provider: str, sentence: str) -> None:
    (config / "production.toml").write_text(f"[oidc.providers.corp]\n{provider}\n")
    (said,) = problems(IDP_CONFIG_DIR=str(config))
    assert said.startswith("oidc.providers (from ")
    assert sentence in said
