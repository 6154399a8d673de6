"""Installs peers with the pip and npm of this machine, in pinned versions."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

_HERE = Path(__file__).parent
_SECONDS = 120.0


class NotInstalled(Exception):
    """A peer cannot be installed; the message says why."""


class Peer(msgspec.Struct, frozen=True):
    """A peer.

    Attributes:
        name: its name in the tables.
        install: installs it into a folder, and returns its command and version.
    """

    name: str
    install: Callable[[Path], tuple[list[str], str]]


def _s2(folder: Path) -> tuple[list[str], str]:
    requirements = _HERE / "requirements.txt"
    python = install_in_venv(folder, "--requirement", str(requirements))
    fastapi = next(line for line in requirements.read_text().splitlines() if line.startswith("fastapi=="))
    return [python, str(_HERE / "s2/app.py")], fastapi.replace("==", " ")


def install_in_venv(folder: Path, *arguments: str) -> str:
    """Create a virtual environment, install into it, and return its Python.

    Args:
        folder: of the environment.
        arguments: for `pip install`.

    Raises:
        NotInstalled: it failed.
    """
    base = getattr(sys, "_base_executable", sys.executable)  # a venv created from a venv may lack pip
    _run([base, "-m", "venv", str(folder / "venv")], folder)
    python = str(folder / "venv/bin/python")
    _run([python, "-m", "pip", "install", "--quiet", "--no-input", *arguments], folder)
    return python


def _node(source: str, package: str) -> Callable[[Path], tuple[list[str], str]]:
    def install(folder: Path) -> tuple[list[str], str]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise NotInstalled("node and npm are not installed")
        shutil.copytree(_HERE / source, folder, dirs_exist_ok=True)
        _run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], folder)
        version = json.loads((folder / "package.json").read_text())["dependencies"][package]
        return [node, str(folder / "server.mjs")], f"{package} {version}"

    return install


def _run(argv: list[str], folder: Path) -> None:
    try:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{Path(argv[0]).name} took more than {_SECONDS:.0f} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NotInstalled(f"{Path(argv[0]).name}: {lines[-1] if lines else 'failed'}") from error


PEERS = (
    Peer("S2", _s2),
    Peer("oidc-provider", _node("oidc_provider", "oidc-provider")),
    Peer("better-auth", _node("better_auth", "better-auth")),
)
