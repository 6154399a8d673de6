"""Settings: built once from defaults, `config/*.toml` and the environment, then passed down.

The command chooses the profile (`idp serve` is production, `idp dev` development); no variable does. Later sources win:
the structs' defaults, `idp.toml`, `<profile>.toml`, the environment, then what the command itself was given.
This is the only module that reads the environment.
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

from idp.settings_schema import ALIASES, NOT_YET_USED, Secret, Section, Settings

__all__ = [
    "LoadedSettings",
    "Profile",
    "Secret",
    "Settings",
    "SettingsError",
    "load",
    "misspelt",
    "refuse_unsafe",
]

Profile = Literal["development", "production"]
_FILES: dict[Profile, str] = {"development": "dev.toml", "production": "production.toml"}
_PLACEHOLDER = re.compile(
    r"change|placeholder|replace|example|secret|password|your[-_ ]|dummy|default|insecure|x{6,}|12345|abcdef",
    re.IGNORECASE,
)
_LEVELS = {"warn": "warning", "critical": "error", "trace": "debug"}  # other loggers' names for ours
# What Kubernetes puts into every pod for a Service called `idp`: not settings of ours.
_SERVICE_LINK = re.compile(r"^IDP_(SERVICE_(HOST|PORT)|PORT)(_|$)")


class SettingsError(Exception):
    """The settings cannot be used; the message has one sentence a problem, each with what to change."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class LoadedSettings(Struct, frozen=True):
    """The settings, the profile that was asked for, and where each value came from (`"server.port": "env PORT"`)."""

    settings: Settings
    profile: Profile
    sources: dict[str, str]


def fields() -> Iterator[tuple[str, Any]]:
    """Yield every setting as ("section.key", its type)."""
    for section in msgspec.structs.fields(Settings):
        for key in msgspec.structs.fields(section.type):
            yield f"{section.name}.{key.name}", key.type


def is_secret(kind: Any) -> bool:
    return "Secret" in str(kind)


def is_list(kind: Any) -> bool:
    return str(kind).startswith("tuple[")


def environment_names(path: str) -> tuple[str, ...]:
    """Return the environment variables that set `section.key`, the strongest first."""
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
        overrides: `{"section.key": value}` given by the command itself, strongest of all.

    Raises:
        SettingsError: a file cannot be read, a key is unknown, or a value does not fit.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    folder = config_dir(environ)
    for name in ("idp.toml", _FILES[profile]):
        for path, value in _read_file(folder / name).items():
            values[path], sources[path] = value, f"config/{name}"
    for path, kind in fields():
        found = _from_environment(path, kind, environ)
        if found is not None:
            values[path], sources[path] = found
    for path, value in (overrides or {}).items():
        values[path], sources[path] = value, "command"
    return LoadedSettings(settings=_convert(values, sources), profile=profile, sources=sources)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError([f"{path} does not exist: point IDP_CONFIG_DIR at the folder that holds it."]) from None
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
        if is_secret(kind) and (file := environ.get(f"{name}_FILE")):
            if environ.get(name):
                raise SettingsError([f"{name} and {name}_FILE are both set: keep one of them."])
            return _parse(_read_secret(f"{name}_FILE", file), kind), f"env {name}_FILE"
        if text := environ.get(name):  # empty is how Compose spells "not set"
            return _parse(text, kind), f"env {name}"
    if path == "valkey.url" and (host := environ.get("REDIS_HOST")):
        password = environ.get("REDIS_PASSWORD")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{host}:{environ.get('REDIS_PORT') or 6379}/0", "env REDIS_HOST"
    return None


def _read_secret(name: str, file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{name} names {file}, which cannot be read: {error}."]) from None


def _parse(text: str, kind: Any) -> Any:
    if is_list(kind):
        return [part.strip() for part in text.split(",") if part.strip()]
    if "Literal['debug'" in str(kind):
        return _LEVELS.get(text.strip().lower(), text.strip().lower())
    return text


def _convert(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    sections: dict[str, Section] = {}
    problems: list[str] = []
    for section in msgspec.structs.fields(Settings):
        mine = {path.split(".")[1]: value for path, value in values.items() if path.startswith(f"{section.name}.")}
        try:
            sections[section.name] = msgspec.convert(mine, section.type, strict=False, dec_hook=_to_secret)
        except msgspec.ValidationError as error:
            problems.append(_misfit(section.name, str(error), sources))
    if problems:
        raise SettingsError(problems)
    return Settings(**sections)  # type: ignore[arg-type]


def _to_secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Secret and isinstance(value, Secret):
        return value
    raise ValueError("Expected text")


def _misfit(section: str, message: str, sources: Mapping[str, str]) -> str:
    what, _, where = message.partition(" - at `$.")
    path = ".".join((section, re.split(r"[`.\[]", where)[0]))
    return f"{path} (from {sources.get(path, 'default')}) does not fit: {what}."


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"{where} is not a setting" + (f": did you mean {close[0]}?" if close else ".")


def misspelt(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each environment variable that looks like a setting and is none.

    Every `IDP_…` name counts, and any other name that is nearly one of ours.
    """
    environ = os.environ if environ is None else environ
    names: set[str] = {"IDP_CONFIG_DIR", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"}
    for path, kind in fields():
        for name in environment_names(path):
            names |= {name, f"{name}_FILE"} if is_secret(kind) else {name}
    problems = []
    for name in sorted(set(environ) - names):
        ours = name.startswith("IDP_") and not _SERVICE_LINK.match(name)
        if ours or difflib.get_close_matches(name, names, n=1, cutoff=0.85):
            problems.append(_unknown(f"{name} in the environment", name, names))
    return problems


def set_but_unused(loaded: LoadedSettings) -> list[str]:
    """Return the settings that somebody set and this version does not use yet."""
    given = [path for path, source in loaded.sources.items() if not source.startswith("config/")]
    return sorted(path for path in given if path in NOT_YET_USED)


def seed_file(settings: Settings) -> Path:
    """Return the path of the seed: IDP_SEED_FILE, else config/seed.toml."""
    return Path(settings.seed.file) if settings.seed.file else config_dir() / "seed.toml"


def root_secret(settings: Settings) -> Secret | None:
    """Return the root secret; where only AUTH_JWT_SECRET_KEY is given, it stands in (C-06c)."""
    return settings.secrets.secret_key or settings.tokens.auth_jwt_secret


def refuse_unsafe(settings: Settings) -> None:
    """Refuse what must not run in production (S3-47, S3-48, S3-50, SEC-11, SEC-12).

    Raises:
        SettingsError: one sentence a problem: the setting, what was seen, what to put there.
    """
    problems = []
    if settings.database.url is None:
        problems.append(
            "DATABASE_URL is not set: put the address of a PostgreSQL 15 to 18 there, "
            "for example postgresql://idp:…@db.internal:5432/idp."
        )
    if root_secret(settings) is None:
        problems.append(
            "IDP_SECRET_KEY is not set: put 32 or more random characters there, "
            "for example what `openssl rand -base64 48` prints."
        )
    problems += [p for name, secret in _keys(settings) if (p := _weakness(name, secret))]
    if settings.authn.allow_dev_headers:
        problems.append(
            "AUTH_ALLOW_DEV_HEADERS is true: dev headers let anyone be anyone and exist only under `idp dev`; "
            "remove it or put false."
        )
    if any("*" in origin for origin in settings.cors.origins):
        problems.append(
            "AUTH_API_CORS_ORIGINS holds *: any web page could call with a visitor's credentials; "
            "put the exact origins there, for example https://app.example.com."
        )
    if settings.tokens.algorithm == "HS256" and not (settings.tokens.auth_jwt_secret or settings.tokens.jwt_secret):
        problems.append(
            "AUTH_JWT_ALGORITHM is HS256 and no shared secret is set: "
            "set AUTH_JWT_SECRET_KEY, or remove AUTH_JWT_ALGORITHM to sign with ES256."
        )
    url = settings.server.public_url
    if url is not None and not re.match(r"^https?://[^/\s?#]+(/[^\s?#]*)?$", url):
        problems.append(f"IDP_PUBLIC_URL is {url!r}: put an address such as https://id.example.com there.")
    if problems:
        raise SettingsError(problems)


def _keys(settings: Settings) -> Iterator[tuple[str, Secret]]:
    single = {
        "IDP_SECRET_KEY": settings.secrets.secret_key,
        "AUTH_JWT_SECRET_KEY": settings.tokens.auth_jwt_secret,
        "JWT_SECRET_KEY": settings.tokens.jwt_secret,
        "ADMIN_TOKEN": settings.management.admin_token,
    }
    yield from ((name, secret) for name, secret in single.items() if secret is not None)
    yield from (("IDP_PREVIOUS_SECRET_KEYS", secret) for secret in settings.secrets.previous_secret_keys)
    yield from (("AUTH_JWT_PREVIOUS_SECRET_KEYS", secret) for secret in settings.tokens.previous_jwt_secrets)


def _weakness(name: str, secret: Secret) -> str | None:
    value = secret.reveal()
    advice = "put 32 or more random characters there, for example what `openssl rand -base64 48` prints."
    if len(value) < 32:
        return f"{name} has {len(value)} characters: {advice}"
    if _PLACEHOLDER.search(value) or len(set(value)) < 10:
        return f"{name} looks like a placeholder or a pattern: {advice}"
    return None
