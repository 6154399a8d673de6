"""The example plugin as an installed distribution, with settings."""

import re
import secrets
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "authenticator-plugin"


@dataclass(frozen=True)
class Gateway:
    """The wheel, a folder that it is unpacked in, settings files that name its secret's file, and the secret."""

    wheel: Path
    site: Path
    config: Path
    secret: str


def build_wheel(folder: Path) -> Path:
    """Build the example with its own build backend, in a copy of it, and return the wheel."""
    source = folder / "source"
    shutil.copytree(EXAMPLE, source)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(folder: Path) -> Gateway:
    """Build the wheel, unpack it, and write the settings that it needs."""
    wheel, secret = build_wheel(folder), secrets.token_hex(32)
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return Gateway(wheel, folder / "site", config_with_gateway(folder, secret), secret)


def config_with_gateway(folder: Path, secret: str) -> Path:
    """Copy the settings files into the folder, with the plugin's table, and return the copy."""
    config = folder / "config"
    shutil.copytree(ROOT / "config", config)
    file = config / "gateway.secret"
    file.write_text(secret + "\n")
    with (config / "idp.toml").open("a") as settings:
        (pasted,) = re.findall(r"```toml\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
        settings.write("\n" + pasted.replace("/run/secrets/gateway", str(file)))
    return config
