"""The TypeScript client: its own tests with Node's runner, the shared vectors among them, and its package."""

import json
import os
import re
import subprocess
from pathlib import Path

from client.access_token_vectors import token_vectors
from typescript_client.conftest import PACKAGE, ROOT


def test_it_gives_every_vector_its_verdict(package: Path, tmp_path: Path) -> None:
    """SEC-20 to SEC-28, SEC-30: the tokens and JSON texts of the Python client's tests, and tests of its own."""
    vectors = tmp_path / "access_tokens.json"
    groups = token_vectors()
    vectors.write_text(json.dumps(groups))
    environ = os.environ | {
        "IDP_VECTORS": str(vectors),
        "IDP_JSON_VECTORS": str(ROOT / "tests/vectors/json_objects.json"),
    }
    command = ["node", "--test", "--test-reporter=tap", *map(str, sorted(package.glob("dist-test/*.test.js")))]
    done = subprocess.run(command, cwd=package, env=environ, capture_output=True, text=True, check=False, timeout=120)
    failed = re.findall(r"^ *not ok.*(?:\n.*){0,12}", done.stdout, re.MULTILINE)
    assert done.returncode == 0, "\n".join(failed) + done.stderr
    lines = re.findall(r"^# (pass|fail|skipped) (\d+)$", done.stdout, re.MULTILINE)
    counts = {name: int(number) for name, number in lines}
    assert (counts["fail"], counts["skipped"]) == (0, 0)
    assert counts["pass"] > sum(len(group["tokens"]) for group in groups)


def test_the_package_holds_what_it_needs(package: Path) -> None:
    done = subprocess.check_output(["npm", "pack", "--dry-run", "--json", "--ignore-scripts"], cwd=package, text=True)
    packed = json.loads(done)
    (content,) = packed if isinstance(packed, list) else packed.values()
    files = {file["path"] for file in content["files"]}
    sources = {source.stem for source in (PACKAGE / "src").glob("*.ts")}
    expected = {f"dist/{name}.{end}" for name in sources for end in ("js", "d.ts")}
    assert files - {"LICENSE"} == expected | {"package.json", "README.md"}


def test_it_has_one_dependency_and_exact_versions() -> None:
    project = json.loads((PACKAGE / "package.json").read_text())
    python = (ROOT / "clients/python/pyproject.toml").read_text()
    assert project["dependencies"].keys() == {"jose"}
    for version in (project["dependencies"] | project["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f'version = "{project["version"]}"' in python
    assert "://" not in (PACKAGE / "package.json").read_text()
    assert not subprocess.check_output(["git", "ls-files", "*package-lock.json"], cwd=PACKAGE, text=True)


def test_its_files_stay_small() -> None:
    for source in (PACKAGE / "src").glob("*.ts"):
        assert len(source.read_text().splitlines()) <= 200, source.name
