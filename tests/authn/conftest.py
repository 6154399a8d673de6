"""The example plugin as a real distribution: built by its own build backend, unpacked, and on the path."""

import importlib
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "authenticator-plugin"


@dataclass(frozen=True)
class Gateway:
    """The example plugin, installed into a folder, and a deployment's settings for it."""

    site: Path
    config: Path
    secret: str


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Build the example's wheel with hatchling, unpack it, and write the settings that it needs."""
    folder = tmp_path_factory.mktemp("gateway")
    source, site = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    secret = secrets.token_hex(32)
    return Gateway(site, config_with_gateway(folder, secret), secret)


def config_with_gateway(folder: Path, secret: str) -> Path:
    """Copy the settings files into the folder, with the plugin's table, and return the copy."""
    config = folder / f"config-{secrets.token_hex(4)}"
    shutil.copytree(ROOT / "config", config)
    file = config / "gateway.secret"
    file.write_text(secret + "\n")
    with (config / "idp.toml").open("a") as settings:
        settings.write(f'\n[authn.plugin_settings.gateway]\nsecret_file = "{file}"\n')
    return config


@pytest.fixture(scope="session")
def installed_gateway(gateway: Gateway) -> Iterator[Gateway]:
    """The same, importable by this process as an installed package is."""
    sys.path.append(str(gateway.site))
    importlib.invalidate_caches()
    yield gateway
    sys.path.remove(str(gateway.site))
