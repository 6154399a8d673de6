"""The images: content, user, and no development code in production."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from deploy.deploy_support import ROOT


def stages() -> dict[str, tuple[str, list[str]]]:
    """Return each stage's base and instructions, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)\n", text, re.MULTILINE)
    assert default
    text = text.replace(default[0], "").replace("${PYTHON_IMAGE}", default[1])
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    found: dict[str, tuple[str, list[str]]] = {}
    for line in lines:
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = (base, [])
        else:
            found[name][1].append(line)
    return found


def lineage(name: str) -> list[str]:
    """Return the instructions of a stage and of those it is built on."""
    base, instructions = stages()[name]
    return [*(lineage(base) if base in stages() else []), *instructions]


def test_a_plain_build_makes_the_production_image() -> None:
    """S3-44: `docker build -t promptstack-auth:latest .`, so it must be the last stage, and docker must find it."""
    assert list(stages())[-1] == "production"
    assert (ROOT / "Dockerfile").resolve() == ROOT / "Containerfile"


def test_it_is_python_312_slim_in_several_stages() -> None:
    """S4-39, S1-20."""
    assert {base for base, _ in stages().values() if base not in stages()} == {"python:3.12-slim"}
    assert len(stages()) > 2


@pytest.mark.parametrize("image", ["production", "development"])
def test_it_does_not_run_as_root(image: str) -> None:
    """S1-20. By number: Kubernetes cannot tell a name from root."""
    user = [line.split()[1] for line in lineage(image) if line.startswith("USER ")][-1]
    assert int(user.split(":")[0]) > 0


def test_it_asks_health_with_curl_on_the_port_that_is_set() -> None:
    """S1-20, S2-44."""
    check = next(line for line in lineage("production") if line.startswith("HEALTHCHECK "))
    assert re.search(r'CMD curl .*--fail .*"http://127\.0\.0\.1:\$\{PORT:-.*8000\}+/health"', check)
    assert any(re.search(r"apt-get install .*\bcurl\b", line) for line in lineage("production"))
    assert "EXPOSE 8000" in lineage("production")


def test_it_serves() -> None:
    assert 'CMD ["idp", "serve"]' in lineage("production")


def test_production_has_nothing_of_development() -> None:
    """Rule 7: neither the code of idp/dev nor the wheels it runs, in any layer."""
    instructions = lineage("production")
    copied_from = {found[1] for line in instructions if (found := re.match(r"COPY --from=(\S+)", line))}
    assert copied_from == {"packages", "source"}
    assert not [line for line in instructions if re.match(r"COPY (?!--from)(\.|src)", line)]
    assert any(re.search(r"\brm -r src/idp/dev\b", line) for line in lineage("source"))
    assert "requirements-dev.lock" not in " ".join([*instructions, *lineage("packages")])


def test_development_says_that_it_is_in_a_container() -> None:
    instructions = lineage("development")
    assert "ENV IDP_DEV__IN_CONTAINER=1" in instructions
    assert any(line.startswith('ENTRYPOINT ["idp", "dev"') for line in instructions)


def test_packages_are_installed_by_hash_only() -> None:
    for name in stages():
        for line in lineage(name):
            if "pip install" in line:
                assert "--require-hashes" in line
                assert "--only-binary :all:" in line


def test_the_build_context_excludes_secrets_and_large_files() -> None:
    """Docker reads .dockerignore, Podman .containerignore: they are one file."""
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    patterns = (ROOT / ".containerignore").read_text().splitlines()
    assert {".*", "**/.env*", "**/__pycache__"} <= set(patterns)


def test_everything_copied_exists() -> None:
    for _, instructions in stages().values():
        for line in instructions:
            if line.startswith("COPY ") and "--from" not in line:
                assert all((ROOT / source).exists() for source in shlex.split(line)[1:-1]), line


def test_the_commands_work_without_the_code_of_development(tmp_path: Path) -> None:
    """What the Containerfile does, without a container: a new environment, our sources less idp/dev, link-source."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "dev"))
    for name in ("config", "db"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert not (tmp_path / "src/idp/dev").exists()
    venv = tmp_path / "venv"
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", venv])
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")  # idp itself is in no package there
    subprocess.check_call(["sh", ROOT / "deploy/container/link-source", venv, tmp_path / "src"])
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    def run(*arguments: str) -> str:
        return subprocess.check_output([venv / "bin/idp", *arguments], text=True, env=environment, cwd="/")

    assert "serve" in run("--help")
    assert "--port" in run("serve", "--help")
    # multiprocessing's spawn imports the main file again, under another name: that must not start a second service.
    code = f"import runpy; runpy.run_path({str(venv / 'bin/idp')!r}, run_name='__mp_main__')"
    subprocess.check_call([venv / "bin/python", "-P", "-c", code], env=environment, cwd="/")
    code = "import idp.app, idp; print(idp.__file__)"
    seen = subprocess.check_output([venv / "bin/python", "-P", "-c", code], text=True, env=environment, cwd="/")
    assert Path(seen.strip()) == tmp_path / "src/idp/__init__.py"
