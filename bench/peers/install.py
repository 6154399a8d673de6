"""Installing peers: pip and npm as they are configured on this machine, versions pinned beside each peer."""

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
    """Why a peer is missing, in a few words."""


class Peer(msgspec.Struct, frozen=True):
    """Something that can be installed and started.

    Attributes:
        name: what the tables call it.
        install: puts it into a folder and returns the command that starts it there, and its version.
    """

    name: str
    install: Callable[[Path], tuple[list[str], str]]


def _s2(folder: Path) -> tuple[list[str], str]:
    base = getattr(sys, "_base_executable", sys.executable)  # a venv made from a venv may lack pip's wheel
    _run([base, "-m", "venv", str(folder / "venv")], folder)
    python = str(folder / "venv/bin/python")
    requirements = _HERE / "requirements.txt"
    _run([python, "-m", "pip", "install", "--quiet", "--no-input", "--requirement", str(requirements)], folder)
    fastapi = next(line for line in requirements.read_text().splitlines() if line.startswith("fastapi=="))
    return [python, str(_HERE / "s2/app.py")], fastapi.replace("==", " ")


def _node(source: str, package: str) -> Callable[[Path], tuple[list[str], str]]:
    def install(folder: Path) -> tuple[list[str], str]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise NotInstalled("node and npm are not there")
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
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NotInstalled(f"{Path(argv[0]).name}: {said[-1] if said else 'failed'}") from error


PEERS = (
    Peer("S2", _s2),
    Peer("oidc-provider", _node("oidc_provider", "oidc-provider")),
    Peer("better-auth", _node("better_auth", "better-auth")),
)
