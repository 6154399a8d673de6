"""The embedded PostgreSQL in ordinary use."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dev.embedded_support import BIN, ROOT, query, servers_of
from idp.dev.cluster import find_home
from idp.dev.embedded import EmbeddedError, EmbeddedPostgres, remove_data
from idp.dev.server_user import ServerUser


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("postgres") / "data"
    yield folder
    remove_data(folder)


@pytest.fixture(scope="module")
def made(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as server:
        yield server


@pytest.fixture
def server(made: EmbeddedPostgres) -> EmbeddedPostgres:
    """The module's one server, running, whatever the test before did to it."""
    made.start()
    return made


def test_the_database_and_its_role_are_called_idp(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SELECT current_user, current_database()") == "idp|idp"


def test_the_role_is_no_superuser(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = 'idp'") == "f"


def test_unqualified_names_mean_our_schema_first(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SHOW search_path") == "idp, public"


def test_text_is_utf8_and_ordered_alike_on_every_machine(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SHOW server_encoding") == "UTF8"
    assert query(server.url, "SELECT 'B' < 'a', lower('Ä') = 'ä'") == "t|t"
    assert query(server.url, "SHOW timezone") == "UTC"


def test_it_listens_on_loopback_only(server: EmbeddedPostgres) -> None:
    assert query(server.url, "SHOW listen_addresses") == "127.0.0.1"


def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    password = urlsplit(server.url).password or ""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        query(server.url.replace(password, "wrong"), "SELECT 1")
    assert "password authentication failed" in refused.value.output


def test_the_password_file_is_for_its_owner_only(server: EmbeddedPostgres, data_dir: Path) -> None:
    assert stat.S_IMODE((data_dir / "postgres.password").stat().st_mode) == 0o600


def test_a_created_database_is_empty_and_has_our_search_path(server: EmbeddedPostgres) -> None:
    url = server.create_database("fresh")
    assert query(url, "SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'") == "0"
    assert query(url, "SHOW search_path") == "idp, public"


def test_an_unusual_database_name_is_quoted_everywhere(server: EmbeddedPostgres) -> None:
    name = 'a "b"; DROP ROLE idp /%'
    assert query(server.create_database(name), "SELECT current_database()") == name


def test_a_database_that_exists_is_not_created_again(server: EmbeddedPostgres) -> None:
    server.create_database("twice")
    with pytest.raises(EmbeddedError, match="already exists"):
        server.create_database("twice")


def test_data_and_port_survive_a_restart(server: EmbeddedPostgres) -> None:
    query(server.url, "CREATE TABLE public.kept AS SELECT 42 AS answer")
    url = server.url
    server.stop()
    server.start()
    assert server.url == url
    assert query(url, "SELECT answer FROM public.kept") == "42"


def test_another_object_on_the_same_folder_finds_the_data(server: EmbeddedPostgres, data_dir: Path) -> None:
    query(server.url, "CREATE TABLE public.found AS SELECT 7 AS answer")
    server.stop()
    with EmbeddedPostgres(data_dir, bin_dir=BIN) as other:
        assert query(other.url, "SELECT answer FROM public.found") == "7"


def test_stopping_leaves_no_process_and_may_be_repeated(server: EmbeddedPostgres, data_dir: Path) -> None:
    assert len(servers_of(data_dir)) > 1
    server.stop()
    server.stop()
    assert servers_of(data_dir) == []


def test_a_crashed_server_recovers_committed_data(server: EmbeddedPostgres) -> None:
    query(server.url, "CREATE TABLE public.committed AS SELECT 1 AS answer")
    server.kill()
    server.start()
    assert query(server.url, "SELECT answer FROM public.committed") == "1"


def test_a_paused_server_is_silent_until_it_is_resumed(server: EmbeddedPostgres) -> None:
    at = urlsplit(server.url)
    server.pause()
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=0.2) as connection:
        connection.sendall(bytes.fromhex("0000000804d2162f"))  # "will you speak TLS?"
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.resume()
        connection.settimeout(5)
        assert connection.recv(1) == b"N"


def test_a_folder_in_use_is_refused_by_name_and_pid(server: EmbeddedPostgres, data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
        EmbeddedPostgres(data_dir, bin_dir=BIN).start()
    with pytest.raises(EmbeddedError, match="in use"):
        remove_data(data_dir)
    assert query(server.url, "SELECT 1") == "1"


def test_a_taken_port_is_named(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"Port {port} on 127.0.0.1 cannot be used"):
            EmbeddedPostgres(data_dir, port=port, bin_dir=BIN).start()


def test_a_wanted_port_is_used(server: EmbeddedPostgres, data_dir: Path) -> None:
    port = urlsplit(server.url).port
    server.stop()
    with EmbeddedPostgres(data_dir, port=port, bin_dir=BIN) as other:
        assert urlsplit(other.url).port == port


def test_a_failed_start_quotes_the_log_and_leaves_the_folder_free(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.stop()
    settings = find_home(data_dir, ServerUser.for_servers()).cluster / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match=r"did not start(.|\n)*no_such_setting"):
        server.start()
    settings.write_text(before)
    server.start()
    assert query(server.url, "SELECT 1") == "1"


def test_a_lost_password_file_is_named(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.stop()
    password, hidden = data_dir / "postgres.password", data_dir / "hidden"
    password.rename(hidden)
    with pytest.raises(EmbeddedError, match=r"postgres\.password.*--fresh"):
        server.start()
    hidden.rename(password)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(EmbeddedError, match=r"data cannot be written .*--data-dir"):
        EmbeddedPostgres(tmp_path / "data", bin_dir=BIN).start()


def test_binaries_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError):
        EmbeddedPostgres(tmp_path / "data", bin_dir=tmp_path).start()


def test_a_thread_may_not_start_a_server(server: EmbeddedPostgres) -> None:
    """The kernel's "parent" is the thread: the server would die with it."""
    server.stop()
    seen: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(seen[0])


def test_without_the_dev_extra_the_error_names_it(tmp_path: Path) -> None:
    start = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from idp.dev import embedded as e\n"
    for made in ("e.EmbeddedPostgres(pathlib.Path(sys.argv[2]))", "e.EmbeddedValkey()"):
        code = f"{start}try: {made}.start()\nexcept e.EmbeddedError as error: print(error)"
        said = subprocess.check_output([sys.executable, "-S", "-c", code, ROOT / "src", tmp_path], text=True)
        assert "pip install 'idp[dev]'" in said
