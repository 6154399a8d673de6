"""Reads the deployment files: Compose files, manifests and the Containerfile."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from idp.settings import environment_names, fields, is_secret

ROOT = Path(__file__).parents[2]
_INNERMOST = re.compile(r"\$\{(\w+)(?::-([^${}]*))?\}")


def load(path: str) -> Any:
    """Return the only YAML document of a file in the repository."""
    return yaml.safe_load((ROOT / path).read_text())


def load_all(path: str) -> list[Any]:
    """Return all YAML documents of a file in the repository."""
    return list(yaml.safe_load_all((ROOT / path).read_text()))


def interpolated(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return the value as Compose sees it: `${NAME:-default}` replaced, also inside one another."""
    known = environment or {}
    if isinstance(value, dict):
        return {key: interpolated(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, known) for item in value]
    while isinstance(value, str) and _INNERMOST.search(value):
        value = _INNERMOST.sub(lambda found: known.get(found[1]) or found[2] or "", value)
    return value


def known_names() -> set[str]:
    """Return every environment variable that the service understands."""
    names = {"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "IDP_CONFIG_DIR"}
    for path, kind in fields():
        for name in environment_names(path):
            names |= {name, f"{name}_FILE"} if is_secret(kind) else {name}
    return names


def secret_names() -> set[str]:
    """Return the variables whose value is a secret by itself."""
    return {name for path, kind in fields() if is_secret(kind) for name in environment_names(path)}


def ours(compose: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the services that run our image."""
    for name, service in compose["services"].items():
        if "build" in service:
            yield name, service
