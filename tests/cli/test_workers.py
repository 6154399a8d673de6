"""`idp serve --workers`: processes that share a port, die, hang and are replaced (decision 0055)."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.support import PLAIN, free_port, get, idp, running_serve, wait_until
from cli.worker_support import ENVIRON, Service, loaded, serving
from idp.dev.embedded import EmbeddedPostgres

_MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database(f"workers_{secrets.token_hex(4)}")
    assert idp("migrate", DATABASE_URL=url).returncode == 0
    return url


@pytest.fixture(scope="module")
def service(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose workers the tests of this file may kill."""
    output: Path = tmp_path_factory.mktemp("workers") / "out"
    with serving(output, DATABASE_URL=database, IDP_SERVER__WORKER_TIMEOUT_SECONDS="5") as running:
        yield running


# --- memory and metrics ----------------------------------------------------------------------------------------------


def test_a_further_worker_adds_at_most_60_mb(service: Service) -> None:
    """Its pages that no other process has; and who forks it has one thread and no connection to the database."""
    with loaded(service.port):
        time.sleep(1)
    for worker in service.workers():
        assert worker.memory_full_info().uss < 60 * _MEGABYTE
    (generation,) = service.generations()
    assert generation.num_threads() == 1
    assert [each.status for each in generation.net_connections("tcp")] == ["LISTEN"]
    assert service.serve.process.pid != generation.pid
    assert psutil.Process(service.serve.process.pid).memory_info().rss < 200 * _MEGABYTE  # a fork of the tests' server


def test_every_scrape_counts_the_requests_of_all_workers(service: Service) -> None:
    before = service.requests()
    for _ in range(40):  # a connection each, so that both workers get some
        assert get(f"{service.url}/healthz").status == 200
    for _ in range(6):
        assert service.requests() == before + 40
    scrape = service.scrape()
    assert scrape['idp_workers{state="ready"}'] == 2
    assert {name for name in scrape if name.startswith("process_start_time")} == {
        'process_start_time_seconds{worker="1"}',
        'process_start_time_seconds{worker="2"}',
    }


def test_counters_include_workers_that_ended_and_generations_before(service: Service) -> None:
    for _ in range(10):
        get(f"{service.url}/healthz")
    before = service.requests()
    ended = service.workers()[0]
    ended.kill()
    wait_until(lambda: len(service.workers()) == 2 and ended not in service.workers(), 10)
    assert service.requests() >= before
    service.reload()
    assert service.requests() >= before
    assert service.scrape()['idp_worker_exits_total{reason="died"}'] >= 1


def test_log_lines_name_the_worker(service: Service) -> None:
    assert {line["worker"] for line in service.log if line["event"] == "Application startup complete."} == {1, 2}


# --- workers that end ------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_within_a_second_and_the_others_lose_nothing(service: Service) -> None:
    time.sleep(5)  # one that dies early is replaced later
    victim, other = service.workers()
    of_victim = len([each for each in victim.net_connections("tcp") if each.status == "ESTABLISHED"])
    with loaded(service.port) as load:
        of_victim = len([each for each in victim.net_connections("tcp") if each.status == "ESTABLISHED"])
        started = service.said("Application startup complete.")
        victim.kill()
        killed_at = time.monotonic()
        wait_until(lambda: service.said("Application startup complete.") > started, 10)
        seconds = time.monotonic() - killed_at
        time.sleep(0.5)
    assert sum(load.failures.values()) <= of_victim + 2  # those that the victim had, and just accepted
    assert set(load.failures) <= {"ConnectionResetError", "IncompleteReadError", "BrokenPipeError"}
    assert other.is_running()
    assert seconds < 3  # a second on an idle machine
    assert not [each for each in psutil.Process(service.serve.process.pid).children(recursive=True) if _is_zombie(each)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_hangs_is_told_in_metrics_and_replaced(service: Service) -> None:
    before = service.requests()
    hanging = service.workers()[1]
    hanging.suspend()
    wait_until(lambda: _scrape_within_seconds(service)['idp_workers{state="unresponsive"}'] == 1, 5)
    assert service.requests() >= before  # its last known counts
    wait_until(lambda: not hanging.is_running(), 20, "the end of the worker that hangs")
    wait_until(lambda: service.scrape()['idp_workers{state="ready"}'] == 2, 10)
    assert service.said("a worker hangs and is killed") == 1
    assert service.scrape()['idp_worker_exits_total{reason="hang"}'] == 1


def _scrape_within_seconds(service: Service) -> dict[str, float]:
    """Scrape on new connections until one meets a worker that answers."""
    while True:
        try:
            with socket.create_connection(("127.0.0.1", service.port), timeout=1) as connection:
                head = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.metrics_token}\r\n"
                connection.sendall(head.encode() + b"Connection: close\r\n\r\n")
                text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except TimeoutError:
            continue
        lines = [line for line in text.splitlines() if line.startswith("idp_workers")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_killed_generation_is_replaced_while_its_workers_serve(service: Service) -> None:
    with loaded(service.port) as load:
        before = service.said("serving")
        service.generations()[-1].kill()
        wait_until(lambda: service.said("serving") > before, 40)
        time.sleep(1)
    assert load.failures == {}


# --- reload ----------------------------------------------------------------------------------------------------------


def test_a_reload_refuses_and_resets_no_connection(service: Service) -> None:
    """Clients that keep their connection are told to close it."""
    old = service.workers()
    with loaded(service.port) as load:
        service.reload()
        time.sleep(1)
    assert load.failures == {}
    assert load.results["ok"] > 1000
    assert load.results["announced"] >= 1
    wait_until(lambda: not any(each.is_running() for each in old), 20, "the end of the old workers")
    assert len(service.generations()) == 1


def test_two_sighups_in_a_row_and_one_during_the_reload(service: Service) -> None:
    pid, before = service.serve.process.pid, service.said("serving")
    with loaded(service.port) as load:
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: service.said("serving") >= before + 2, 60)
        time.sleep(1)
    assert load.failures == {}


def test_new_settings_are_taken_and_bad_ones_are_refused(database: str, tmp_path: Path) -> None:
    """What is wrong is logged, and the old workers stay."""
    file, good, better = tmp_path / "token", secrets.token_hex(32), secrets.token_hex(32)
    file.write_text(good)
    with serving(tmp_path / "out", DATABASE_URL=database, METRICS_TOKEN_FILE=str(file)) as service:
        workers = service.workers()
        file.write_text("short")
        os.kill(service.serve.process.pid, signal.SIGHUP)
        wait_until(lambda: service.said("the reload failed"), 30)
        (line,) = [line for line in service.log if "reload failed" in line["event"]]
        assert "METRICS_TOKEN has 5 characters" in line["reason"]
        assert service.workers() == workers
        assert get(f"{service.url}/metrics", token=good).status == 200
        file.write_text(better)
        service.reload()
        wait_until(lambda: not any(each.is_running() for each in workers), 20)
        assert get(f"{service.url}/metrics", token=better).status == 200
        assert get(f"{service.url}/metrics", token=good).status == 401
        assert service.serve.end(signal.SIGTERM) == 0
        assert service.serve.leaves_nothing()


def test_sigterm_during_a_reload_stops_everything(database: str, tmp_path: Path) -> None:
    with serving(tmp_path / "out", DATABASE_URL=database) as service:
        os.kill(service.serve.process.pid, signal.SIGHUP)
        time.sleep(1)
        assert service.serve.end(signal.SIGTERM) == 0
        assert service.serve.leaves_nothing()
        assert "Traceback" not in service.serve.said()


# --- stop ------------------------------------------------------------------------------------------------------------


def test_a_request_under_way_is_finished_by_sigterm(database: str, tmp_path: Path) -> None:
    with serving(tmp_path / "out", DATABASE_URL=database) as service:
        body = json.dumps({"email": "nobody@example.com", "password": "correct horse battery"}).encode()
        head = f"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:10])
            time.sleep(0.3)  # the request is under way
            os.kill(service.serve.process.pid, signal.SIGTERM)  # to it alone, as containers do
            finish = threading.Timer(0.5, connection.sendall, [body[10:]])
            finish.start()
            answer = connection.recv(65536)
            finish.join()
        assert service.serve.process.wait(20) == 0
        assert service.serve.leaves_nothing()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.5, 4.0])
def test_a_signal_during_the_start_ends_it_quietly(database: str, tmp_path: Path, seconds: float) -> None:
    environ = ENVIRON | {"DATABASE_URL": database}
    with running_serve(tmp_path / "out", "--workers", "2", wait=False, **environ) as (serve, _):
        time.sleep(seconds)
        assert serve.end(signal.SIGTERM) == 0
        assert serve.leaves_nothing()
        assert "Traceback" not in serve.said()


def test_nothing_is_left_when_the_supervisor_is_killed(database: str, tmp_path: Path) -> None:
    """Workers notice, finish their requests and free the port."""
    with serving(tmp_path / "out", DATABASE_URL=database) as service:
        os.kill(service.serve.process.pid, signal.SIGKILL)
        wait_until(lambda: not service.serve.left_behind(), 15, "the end of the orphans")
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", service.port))


def test_it_gives_up_when_no_worker_can_start(database: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "forks = []\n"
        "os.register_at_fork(before=lambda: forks.append(1))\n"
        "os.register_at_fork(after_in_child=lambda: len(forks) > 1 and os._exit(3))\n"  # the first is no worker
    )
    environ = ENVIRON | {"DATABASE_URL": database, "PYTHONPATH": str(tmp_path)}
    with running_serve(tmp_path / "out", "--workers", "2", wait=False, **environ) as (serve, _):
        assert serve.process.wait(60) == 1
        assert "idp: The workers end before they are ready: see the log above." in serve.said()
        assert '"code": 3' in serve.said()
        assert serve.leaves_nothing()


def test_what_is_wrong_at_the_first_start_is_a_sentence_and_exit_code_1(postgres: EmbeddedPostgres) -> None:
    environ = ENVIRON | {"WEB_CONCURRENCY": "2"}
    done = idp("serve", "--port", "0", **environ, DATABASE_URL="mysql://idp:hush@db/idp")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("idp: DATABASE_URL starts with mysql://; use postgresql://")
    wrong = postgres.create_database(f"w_{secrets.token_hex(4)}").replace("//idp:", "//idp:hush")
    done = idp("serve", "--port", "0", **environ, DATABASE_URL=wrong)
    assert done.returncode == 1
    assert done.stderr.startswith("idp: PostgreSQL at 127.0.0.1")
    assert done.stderr.endswith("refuses the password of the user 'idp': correct it in DATABASE_URL.\n")


def test_sighup_is_ignored_under_nohup_and_closed_stdin_does_no_harm(database: str, tmp_path: Path) -> None:
    port, output = free_port(), tmp_path / "out"
    command = f"exec nohup {sys.executable} -m idp.cli.main serve --host 127.0.0.1 --port {port} --workers 2 <&-"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=PLAIN | ENVIRON | {"DATABASE_URL": database},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_until(lambda: '"serving"' in output.read_text(), 60)
        os.kill(process.pid, signal.SIGHUP)
        time.sleep(0.5)
        assert get(f"http://127.0.0.1:{port}/healthz").status == 200
        assert "reloading" not in output.read_text()
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_process_imports_modules_from_the_current_folder(database: str, tmp_path: Path, workers: str) -> None:
    """A service that is started in /tmp would run what another user has put there."""
    folder, output, port = tmp_path / "cwd", tmp_path / "out", free_port()
    for name in ("json", "structlog", "multiprocessing"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')")
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("idp"), "serve", "--host", "127.0.0.1", "--port", str(port),
             "--workers", workers],
            env=PLAIN | ENVIRON | {"DATABASE_URL": database}, cwd=folder, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        wait_until(lambda: '"serving"' in output.read_text() or process.poll() is not None, 60)
        wait_until(lambda: _answers(port) or process.poll() is not None, 20)
        time.sleep(1)  # password processes start when the service serves
    finally:
        process.terminate()
        process.wait(20)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def _answers(port: int) -> bool:
    try:
        return get(f"http://127.0.0.1:{port}/readyz").status == 200
    except OSError:
        return False
