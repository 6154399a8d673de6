"""idp-client as a separate distribution."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import idp_client

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "python"
SOURCE = CLIENT / "src/idp_client"
MODULES = sorted(SOURCE.rglob("*.py"))
PLUGIN = SOURCE / "testing/plugin.py"
ADAPTERS = {"litestar", "fastapi", "starlette", "flask", "django"}
# cryptography is what joserfc stands on; the rest is declared.
ALLOWED = {"httpx2", "joserfc", "cryptography", "msgspec", "idp_client"} | sys.stdlib_module_names


def imports(module: Path) -> set[str]:
    """Return the packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(SOURCE)))
def test_a_module_imports_only_declared_packages_and_nothing_of_the_service(module: Path) -> None:
    """Architecture: clients/python imports nothing of idp; each framework stays in its adapter."""
    own = {module.stem.partition("_")[0]} & ADAPTERS | ({"pytest"} if module == PLUGIN else set())
    assert imports(module) <= ALLOWED | own


def test_the_core_needs_three_packages_and_frameworks_are_extras() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"httpx2", "joserfc", "msgspec"}
    assert project["optional-dependencies"].keys() == ADAPTERS
    assert project["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_importing_it_loads_no_framework_and_nothing_of_the_service() -> None:
    code = "import sys, idp_client; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT / "clients").split())
    assert "idp_client" in loaded
    assert not loaded & {*ADAPTERS, "idp", "pydantic", "sqlalchemy", "pytest"}


def test_importing_it_does_not_load_the_issuer_for_tests() -> None:
    code = "import sys, idp_client; print(*[name for name in sys.modules if name.startswith('idp_client.testing')])"
    assert not subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT / "clients").split()


def test_the_wheel_holds_the_package_and_its_types(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True)
    (wheel,) = tmp_path.glob("idp_client-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"idp_client/{module.relative_to(SOURCE)}" for module in MODULES} | {"idp_client/py.typed"}


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for name in idp_client.__all__:
        assert (getattr(idp_client, name).__doc__ or "").strip(), name


def test_files_stay_small() -> None:
    """Style 6."""
    assert all(len(module.read_text().splitlines()) <= 180 for module in MODULES)
