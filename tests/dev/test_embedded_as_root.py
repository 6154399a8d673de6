"""Started by root, the servers run as `nobody`; otherwise as the current user."""

import os
import pwd
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.embedded_support import BIN, query
from idp.dev.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedValkey, remove_data
from idp.dev.fallback_data_dir import ROOT as SPARE_ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everyone may enter (pytest's own are private to root)."""
    folder = Path(tempfile.mkdtemp(prefix="idp-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def private_folder(open_folder: Path) -> Path:
    folder = open_folder / "private"
    folder.mkdir(mode=0o700)
    return folder


def owner(pid: int) -> str:
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


def location(data_dir: Path) -> Path:
    return Path((data_dir / "postgres.location").read_text().strip())


def test_the_servers_run_as_the_user_nobody(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "data", bin_dir=BIN) as postgres, EmbeddedValkey() as valkey:
        assert owner(postgres.process.pid) == owner(valkey.process.pid) == "nobody"
    assert (open_folder / "data/postgres").owner() == "nobody"
    assert not (open_folder / "data/postgres.location").exists()
    remove_data(open_folder / "data")
    assert list((open_folder / "data").iterdir()) == []


def test_a_data_folder_below_a_private_one_keeps_its_cluster_elsewhere(private_folder: Path) -> None:
    data_dir = private_folder / "data"
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        query(server.url, "CREATE TABLE public.kept AS SELECT 3 AS answer")
    spare = location(data_dir)
    assert spare.parent == SPARE_ROOT
    assert (spare.owner(), stat.S_IMODE(spare.stat().st_mode)) == ("nobody", 0o700)
    assert stat.S_IMODE(private_folder.stat().st_mode) == 0o700, "parents are left as they were"
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        assert query(server.url, "SELECT answer FROM public.kept") == "3"
    shutil.rmtree(data_dir)  # by hand: its cluster is found again, without a password to it, and made anew
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        assert query(server.url, "SELECT to_regclass('public.kept') IS NULL") == "t"
    assert location(data_dir) == spare
    remove_data(data_dir)
    assert not spare.exists()
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize("trap", ["link", "other owner", "open to others"])
def test_a_fallback_folder_made_by_another_user_is_not_trusted(private_folder: Path, trap: str) -> None:
    data_dir = private_folder / "data"
    data_dir.mkdir()
    spare = SPARE_ROOT / "idp-dev-00000000deadbeef"
    (data_dir / "postgres.location").write_text(f"{spare}\n")
    if trap == "link":
        spare.symlink_to(private_folder)
    else:
        spare.mkdir(mode=0o700)
        os.chown(spare, 12345 if trap == "other owner" else 65534, 65534)
        spare.chmod(0o700 if trap == "other owner" else 0o777)
    try:
        with pytest.raises(EmbeddedError, match="was not created by `idp dev`"):
            EmbeddedPostgres(data_dir, bin_dir=BIN).start()
    finally:
        spare.unlink() if trap == "link" else spare.rmdir()


def test_a_location_outside_our_folders_is_refused(private_folder: Path) -> None:
    data_dir = private_folder / "data"
    data_dir.mkdir()
    (data_dir / "postgres.location").write_text("/etc\n")
    with pytest.raises(EmbeddedError, match="does not contain a valid folder"):
        remove_data(data_dir)


def test_binaries_that_the_user_nobody_cannot_reach_are_explained(private_folder: Path) -> None:
    (private_folder / "bin").mkdir()
    with pytest.raises(EmbeddedError, match=rf"`nobody`, who may not enter {private_folder}:.*ordinary user"):
        EmbeddedPostgres(private_folder / "data", bin_dir=private_folder / "bin").start()


def as_nobody(action: Callable[[], str]) -> str:
    """Run `action` in a forked child that has become an ordinary user, and return its answer."""
    "127.0.0.1".encode("idna")  # loads the codec while our Python can still be read
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: this child uses none
        child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            os.write(writing, action().encode())
        except BaseException as error:  # noqa: BLE001 - the parent shall see it
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_an_ordinary_user_needs_no_second_one(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)

    def use() -> str:
        with EmbeddedPostgres(home / "data", bin_dir=BIN) as server, EmbeddedValkey():
            return query(server.url, "SELECT 6 * 7")

    assert as_nobody(use) == "42"


def test_an_unwritable_data_folder_is_named(open_folder: Path) -> None:
    def start(data_dir: Path) -> str:
        try:
            EmbeddedPostgres(data_dir, bin_dir=BIN).start()
        except EmbeddedError as error:
            return str(error)
        return "started"

    for data_dir in (open_folder, open_folder / "data"):
        said = as_nobody(lambda: start(data_dir))  # noqa: B023
        assert said.startswith(f"The data folder {data_dir} cannot be written (Permission denied)"), said
