"""Settings: built once from defaults, `config/*.toml` and the environment, then passed down.

The command chooses the profile (`idp serve` is production, `idp dev` development); no variable does. Later sources
override earlier ones: the structs' defaults, `idp.toml`, `<profile>.toml`, the environment, then options of the
command. This is the only module that reads the environment.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from idp.settings_schema import ALIASES, NOT_READ, Secret, Section, Settings
from idp.settings_servers import is_host
from idp.settings_values import checked, expected, from_text, is_secret, seen, tables_of, trimmed

__all__ = [
    "ClientSettings",
    "LoadedSettings",
    "Profile",
    "Secret",
    "Settings",
    "SettingsError",
    "load",
    "unknown_variables",
]

Profile = Literal["development", "production"]
_FILES: dict[Profile, str] = {"development": "dev.toml", "production": "production.toml"}
# Variables that Kubernetes sets for Services named `idp` or `auth`; not settings.
_SERVICE_SETTINGS = ("server.public_url", "database.url")
_SERVICE_LINK = re.compile(r"^IDP_PORT$|_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
_LINK_VALUE = re.compile(r"^(tcp|udp|sctp)://")  # such as AUTH_SERVICE_PORT, for a Service named `auth-service`
_ADDRESS = re.compile(r"^[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;]+\Z")
_BIND_ADDRESS = re.compile(r"^(\*|localhost|[\d.]+|\[?[\da-fA-F]*:[\da-fA-F:.]*\]?)(:\d+)?\Z")
_MIN_STEM_LENGTH = 7  # of an abbreviated name, such as SMTP_USER


class SettingsError(Exception):
    """The settings are invalid; the message has one sentence with a remedy per problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class LoadedSettings(Struct, frozen=True):
    """The settings, the profile, and the source of each value (`"server.port": "env PORT"`)."""

    settings: Settings
    profile: Profile
    sources: dict[str, str]


class ClientSettings(Struct, frozen=True):
    """Environment of a command that calls a service.

    Attributes:
        url: URL of the service (IDP_URL).
        port: port of a local service (PORT).
        admin_token: ADMIN_TOKEN or an alias.
        access_token: a user's access token (IDP_TOKEN).
        named_by: set variables that configure another service's database or URL.
    """

    url: str | None
    port: int | None
    admin_token: Secret | None
    access_token: Secret | None
    named_by: tuple[str, ...] = ()

    @property
    def describes_a_service(self) -> bool:
        """Whether the environment configures another service."""
        return bool(self.named_by)


def client_settings(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """Return the environment of a command that calls a service, without reading settings files.

    Raises:
        SettingsError: a secret file cannot be read, or PORT is invalid.
    """
    environ = os.environ if environ is None else environ
    kinds = dict(fields())
    given: dict[str, Any] = {}
    for path in ("server.port", "management.admin_token"):
        value, source = _from_environment(path, kinds[path], environ) or (None, "")
        try:
            given[path] = None if value is None else checked(value, kinds[path])
        except ValueError:
            problem = f"{path} is {seen(value, kinds[path])} (from {source}): use {expected(kinds[path])}."
            raise SettingsError([problem]) from None
    access_token = _secret_given("IDP_TOKEN", environ)
    return ClientSettings(
        url=environ.get("IDP_URL", "").strip() or None,
        port=given["server.port"],
        admin_token=given["management.admin_token"],
        access_token=Secret(access_token[0]) if access_token else None,
        named_by=tuple(
            found[1].removeprefix("env ")
            for path in _SERVICE_SETTINGS
            if (found := _from_environment(path, kinds[path], environ)) is not None
        ),
    )


def fields() -> Iterator[tuple[str, Any]]:
    """Yield every setting as ("section.key", its type)."""
    for section in msgspec.structs.fields(Settings):
        for key in msgspec.structs.fields(section.type):
            yield f"{section.name}.{key.name}", key.type


def environment_names(path: str) -> tuple[str, ...]:
    """Return the environment variables of `section.key`, highest precedence first."""
    section, key = path.split(".")
    return (f"IDP_{section}__{key}".upper(), *ALIASES.get(path, ()))


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the settings files: IDP_CONFIG_DIR, the checkout's `config/`, or the installed copy."""
    given = (os.environ if environ is None else environ).get("IDP_CONFIG_DIR")
    if given:
        return Path(given)
    checkout = Path(__file__).resolve().parents[2] / "config"
    return checkout if (checkout / "idp.toml").is_file() else Path(__file__).resolve().parent / "_config"


def load(
    profile: Profile, *, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Build the settings.

    Args:
        profile: chosen by the command.
        environ: the environment; the process's own by default.
        overrides: `{"section.key": value}` of the command, with the highest precedence.

    Raises:
        SettingsError: a file cannot be read, a key is unknown, or a value is invalid.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    values, sources = _from_files(profile, environ, problems)
    for path, kind in fields():
        try:
            given = _from_environment(path, kind, environ)
        except SettingsError as error:
            problems += error.problems
            continue
        if given is not None:
            values[path], sources[path] = given
    _default_sender(values, sources)
    values |= overrides or {}
    sources |= dict.fromkeys(overrides or {}, "command")
    settings = _convert(values, sources, problems)
    return LoadedSettings(settings=settings, profile=profile, sources=sources)


def _default_sender(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Default FROM_EMAIL to the SMTP user name, if that is an address (S4's environment has no other)."""
    login = values.get("mail.smtp_username")
    if values.get("mail.from_email") is None and isinstance(login, str) and _ADDRESS.match(login):
        values["mail.from_email"], sources["mail.from_email"] = login, sources["mail.smtp_username"]


def _from_files(
    profile: Profile, environ: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the two files with their sources; errors are added to `problems`."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    folder = config_dir(environ)
    shown = folder if environ.get("IDP_CONFIG_DIR") else Path("config")
    for name in ("idp.toml", _FILES[profile]):
        try:
            found = _read_file(folder / name)
        except SettingsError as error:
            problems += error.problems
        else:
            values |= found
            sources |= dict.fromkeys(found, str(shown / name))
    return values, sources


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            [f"{path} does not exist: set IDP_CONFIG_DIR to the folder of the settings files."]
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"{path} cannot be read: {error}."]) from None
    known = dict(fields())
    problems = [_unknown(f"{name} in {path}", name, known) for name in _flat(tables) if name not in known]
    if problems:
        raise SettingsError(problems)
    return _flat(tables)


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        if isinstance(table, Mapping):
            flat |= {f"{section}.{key}": value for key, value in table.items()}
        else:
            flat[section] = table
    return flat


def _from_environment(path: str, kind: Any, environ: Mapping[str, str]) -> tuple[Any, str] | None:
    for name in environment_names(path):
        if is_secret(kind):
            given = _secret_given(name, environ)
        else:
            text = trimmed(environ.get(name, ""))  # Compose sets unset variables to an empty value
            linked = name.endswith("_PORT") and _LINK_VALUE.match(text)
            given = (text, name) if text and not linked else None
        if given is not None:
            return from_text(given[0], kind), f"env {given[1]}"
    return _from_redis_host(environ) if path == "valkey.url" else None


def _secret_given(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return a secret and its variable: NAME, or NAME_FILE with the path of a file."""
    text, file = trimmed(environ.get(name, "")), environ.get(f"{name}_FILE", "").strip()
    if text and file:
        raise SettingsError([f"{name} and {name}_FILE are both set: remove one of them."])
    if file:
        return _read_secret(f"{name}_FILE", file), f"{name}_FILE"
    return (text, name) if text else None


def secret_from(*, variable: str | None, file: str | None) -> Secret:
    """Return a secret that another file of the settings refers to.

    Args:
        variable: the environment variable that has it, or NAME of a NAME_FILE with the path of a file.
        file: the path of a file instead.

    Raises:
        SettingsError: there is none.
    """
    if file is not None:
        return Secret(_read_secret("client_secret_file", file))
    given = _secret_given(variable or "", os.environ)
    if given is None:
        raise SettingsError([f"{variable} is not set."])
    return Secret(given[0])


def _read_secret(name: str, file: str) -> str:
    try:
        text = trimmed(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError([f"The file {file} in {name} cannot be read: {reason}."]) from None
    if not text:
        raise SettingsError([f"The file {file} in {name} is empty: write the secret into it, or unset {name}."])
    return text


def _from_redis_host(environ: Mapping[str, str]) -> tuple[str, str] | None:
    host, port = environ.get("REDIS_HOST", "").strip(), environ.get("REDIS_PORT", "").strip()
    if not host:
        return None
    if not port or _LINK_VALUE.match(port):
        port = "6379"
    if not is_host(host):
        raise SettingsError(["REDIS_HOST is not a host name: use the name only, and REDIS_PORT for the port."])
    if not port.isascii() or not port.isdigit() or int(port) not in range(1, 65536):
        raise SettingsError(["REDIS_PORT is invalid: use a whole number from 1 to 65535."])
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    password = _secret_given("REDIS_PASSWORD", environ)
    login = f":{quote(password[0], safe='')}@" if password else ""
    return f"redis://{login}{host}:{port}/0", "env REDIS_HOST"


def _convert(values: Mapping[str, Any], sources: Mapping[str, str], problems: list[str]) -> Settings:
    """Build the structs; `problems` are earlier errors.

    Raises:
        SettingsError: all problems, one sentence each.
    """
    sections: dict[str, dict[str, Any]] = {}
    for path, kind in fields():
        section, key = path.split(".")
        if path not in values:
            continue
        try:
            sections.setdefault(section, {})[key] = checked(values[path], kind)
        except ValueError as error:
            where = sources[path]
            if tables_of(kind) is not None:
                problems.append(f"{path} (from {where}) is invalid: {_in_table(path, values[path], kind, error)}.")
            else:
                problems.append(f"{path} is {seen(values[path], kind)} (from {where}): use {expected(kind)}.")
    if problems:
        raise SettingsError(problems)
    types: dict[str, type[Section]] = {section.name: section.type for section in msgspec.structs.fields(Settings)}
    return Settings(**{name: types[name](**given) for name, given in sections.items()})  # type: ignore[arg-type]


def _in_table(path: str, tables: Any, kind: Any, error: ValueError) -> str:
    """Return the text of an error with the name of the table that has it, such as `oidc.providers.corp`."""
    for name in tables if isinstance(tables, dict) else ():
        try:
            checked({name: tables[name]}, kind)
        except ValueError as found:
            return str(found).replace("`$[...]", f"`{path}.{name}")
    return str(error)


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"{where} is not a setting" + (f": did you mean {close[0]}?" if close else ".")


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each environment variable that looks like a misspelt setting.

    All `IDP_…` names are checked, and other names that are similar to a setting.
    """
    environ = os.environ if environ is None else environ
    names = known_names()
    strangers = sorted(name for name in set(environ) - names if not _SERVICE_LINK.search(name))
    ours = [name for name in strangers if name.startswith("IDP_") or _is_similar(name, names)]
    return [_unknown(f"{name} in the environment", name, names) for name in ours]


def known_names() -> set[str]:
    """Return all environment variables that idp reads."""
    names = {"IDP_CONFIG_DIR", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"}
    names |= {"IDP_URL", "IDP_TOKEN", "IDP_TOKEN_FILE"}  # of commands that call a service
    for path, kind in fields():
        for name in environment_names(path):
            names |= {name, f"{name}_FILE"} if is_secret(kind) else {name}
    return names


def unused_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each set variable of an old service, or a common one, that idp does not read."""
    environ = os.environ if environ is None else environ
    return [f"{name} is set but not used: {why}" for name, why in NOT_READ.items() if _is_meant(environ, name)]


def _is_meant(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip()
    if name == "HOST":  # shells store the machine's name there, which is not an address to listen on
        return bool(_BIND_ADDRESS.match(value))
    return bool(value)


def _is_similar(name: str, names: Iterable[str]) -> bool:
    """Whether a name is similar to a setting, such as SMTP_USER or DATABSE_URL."""
    is_prefix = "_" in name and len(name) > _MIN_STEM_LENGTH and any(known.startswith(name) for known in names)
    return is_prefix or bool(difflib.get_close_matches(name, names, n=1, cutoff=0.85))


def ineffective_settings(settings: Settings) -> list[str]:
    """Return a sentence for each setting that has no effect because of another one."""
    tokens = settings.tokens
    secrets = {"AUTH_JWT_SECRET_KEY": tokens.auth_jwt_secret, "JWT_SECRET_KEY": tokens.jwt_secret}
    if tokens.algorithm in {None, "HS256"}:
        return []
    return [
        f"{name} is set and AUTH_JWT_ALGORITHM is {tokens.algorithm}: the shared secret is not used, and tokens "
        f"are verified with the JWKS; remove {name}, or use HS256 for services that verify with it."
        for name, secret in secrets.items()
        if secret is not None
    ]


def value_of(settings: Settings, path: str) -> Any:
    """Return the value of `section.key`."""
    section, key = path.split(".")
    return getattr(getattr(settings, section), key)


def shown_value(value: Any) -> Any:
    """Return a value as JSON with secrets hidden; plugin settings may hold any value."""
    if isinstance(value, Secret):
        return "(hidden)"
    if isinstance(value, dict):
        return dict.fromkeys(value, "(hidden)")
    return [shown_value(item) for item in value] if isinstance(value, tuple) else value


def libpq_variable(name: str) -> str | None:
    """Return a variable of libpq, such as PGSSLROOTCERT, which our driver also uses."""
    return os.environ.get(name)


def seed_file(settings: Settings) -> Path:
    """Return the path of the seed: IDP_SEED_FILE, else config/seed.toml."""
    return Path(settings.seed.file) if settings.seed.file else config_dir() / "seed.toml"


def root_secret(settings: Settings) -> Secret | None:
    """Return the root secret; the fallback is a shared secret of the old services (C-06c, decision 0025)."""
    return settings.secrets.secret_key or settings.tokens.auth_jwt_secret or settings.tokens.jwt_secret
