"""Recovery after a `kill -9` of the parent: remaining processes and files at the next start."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.embedded_support import BIN, is_running, parent_process, query, servers_of, wait_until
from idp.dev.cluster import find_home
from idp.dev.embedded import EmbeddedError, EmbeddedPostgres, remove_data
from idp.dev.server_user import ServerUser


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recovery") / "data"
    yield folder
    remove_data(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the next start cleans up")
def test_nothing_outlives_a_killed_parent(data_dir: Path) -> None:
    with parent_process(data_dir) as parent:
        assert parent.stdout is not None
        url, valkey_pid = parent.stdout.readline().split()
        query(url, "CREATE TABLE public.kept AS SELECT 5 AS answer")
        parent.kill()
    wait_until(lambda: not servers_of(data_dir) and not is_running(int(valkey_pid)))
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        assert query(server.url, "SELECT answer FROM public.kept") == "5"


def test_the_next_start_does_not_wait_for_the_old_servers_end(data_dir: Path) -> None:
    with parent_process(data_dir, "--paused") as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
    assert servers_of(data_dir), "a frozen server cannot follow its parent"
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        assert query(server.url, "SELECT 1") == "1"


def test_a_folder_in_use_by_another_process_is_refused(data_dir: Path) -> None:
    with parent_process(data_dir) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().split()[0]
        with pytest.raises(EmbeddedError, match=f"in use by process {parent.pid}"):
            EmbeddedPostgres(data_dir, bin_dir=BIN).start()
        assert query(url, "SELECT 1") == "1"


def test_an_interrupted_initdb_is_done_again(data_dir: Path) -> None:
    remove_data(data_dir)
    folder = find_home(data_dir, ServerUser.for_servers()).folder
    with parent_process(data_dir) as parent:
        wait_until(lambda: list(folder.glob("postgres.partial-*/cluster/PG_VERSION")))
        parent.kill()
    assert not (folder / "postgres").exists()
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        assert query(server.url, "SELECT 1") == "1"
    assert list(folder.glob("postgres.partial-*")) == []


def test_a_stale_pid_file_that_names_a_living_stranger_is_cleared(data_dir: Path) -> None:
    server_user = ServerUser.for_servers()
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        pid_file = find_home(data_dir, server_user).cluster / "postmaster.pid"
        saved = pid_file.with_suffix(".saved")
        shutil.copy(pid_file, saved)
        server.kill()
        with subprocess.Popen(["/bin/sleep", "60"], **server_user.identity) as stranger:
            pid_file.write_text(saved.read_text().replace(str(server.process.pid), str(stranger.pid), 1))
            server.start()
            assert query(server.url, "SELECT 1") == "1"
            assert stranger.poll() is None, "a process that is not ours is left alone"
            stranger.kill()


def test_backends_that_outlive_their_postmaster_are_ended(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        server.pause()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert servers_of(data_dir), "frozen children do not notice"
        server.start()
        assert query(server.url, "SELECT 1") == "1"
