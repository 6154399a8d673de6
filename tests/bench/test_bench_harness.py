"""The benchmark harness: counting, parsing and verdicts, independent of the speed of the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import ceiling, cpu, load, report, server, verdicts
from bench.load import LoadFailed, LoadResult
from bench.measure import CEILING, SERVICE, Contestant
from bench.report import Results
from bench.scenarios import SCENARIOS, Scenario
from bench.traffic import Request, Traffic, WrongAnswer

_BURN = "import time; end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
# What wrk 4.1.0 printed with load.lua.
_SAID = """\
Running 1s test @ http://127.0.0.1:4777
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   749.14us    1.32ms   8.67ms   85.76%
    Req/Sec    12.74k     5.10k   21.92k    70.00%
  12656 requests in 1.00s, 1.35MB read
Requests/sec:  12630.95
Transfer/sec:      1.35MB
RESULT {"requests":12656,"microseconds":1001983,"refused":0,"broken":0,"p50":92,"p99":6106}
"""


def test_processor_time_counts_children_while_they_live_and_after() -> None:
    child = _BURN.format(seconds=0.15)
    code = f"{_BURN.format(seconds=0.1)}\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
    process = subprocess.Popen([sys.executable, "-c", code + "print(flush=True); input()"], stdin=-1, stdout=-1)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert cpu.seconds_of(process.pid) >= 0.23
    finally:
        process.communicate(b"\n")
    assert cpu.seconds_of(process.pid) == 0


def test_a_tree_holds_only_descendants() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    try:
        assert process.pid in cpu.tree_of(os.getpid())
        assert cpu.tree_of(process.pid) == {process.pid}
        own, tree = cpu.resident_megabytes(os.getpid())
        assert 1 < own < tree
    finally:
        process.communicate(b"\n")


def test_the_output_of_wrk_is_parsed() -> None:
    found = load.parse(_SAID)
    assert found == LoadResult(requests=12656, microseconds=1001983, refused=0, broken=0, p50=92, p99=6106)
    assert round(found.rate) == 12631


def test_a_load_without_a_result_fails_with_what_was_said() -> None:
    with pytest.raises(LoadFailed, match="Connection refused"):
        load.parse("unable to connect to 127.0.0.1:9 Connection refused\n")


def test_new_requests_are_written_once_and_others_again(tmp_path: Path) -> None:
    requests = [Request("GET", f"/{number}") for number in range(5)]
    file = tmp_path / "requests"
    fresh = Traffic(requests, once=True)
    assert fresh.write(file, 2) == 2
    assert file.read_bytes() == b"".join(b"%d\n%b" % (len(one.raw()), one.raw()) for one in requests[:2])
    fresh.mark_sent(2)
    assert fresh.write(file, 100) == 3
    again = Traffic(requests)
    again.mark_sent(2)
    assert again.write(file, 2) == 5


def test_a_request_goes_over_the_wire_whole() -> None:
    raw = Request("POST", "/auth/validate", {"content-type": "application/json"}, '{"token": "ü"}').raw()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /auth/validate HTTP/1.1\r\n")
    assert f"content-length: {len(body)}".encode() in head


def test_ratios_pair_rounds_and_targets_are_judged() -> None:
    scenario = Scenario("x", "x", of_ceiling=0.5)
    bare, service = Contestant(CEILING, costs=[40.0, 80.0]), Contestant(SERVICE, costs=[60.0, 100.0])
    (verdict,) = verdicts.of_scenarios([(scenario, [bare, service])], None)
    assert (verdict.found, verdict.target, verdict.met) == ("0.73", "at least 0.5", True)
    unseen = Scenario("x", "x", of_verification=0.9)
    (verdict,) = verdicts.of_scenarios([(unseen, [bare, service])], 20.0)
    assert (verdict.found, verdict.target, verdict.met) == ("1.00", "at least 0.9", True)


def test_missing_figures_are_reported_and_never_guessed() -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.comparisons)
    missing = [Contestant(comparison.peer, error="not installed") for comparison in scenario.comparisons]
    service = Contestant(SERVICE, error="not built yet: /auth/tokens")
    text = report.document(Results([(scenario, [service, *missing])], None, [], [], [], [], []))
    assert "not built yet" in text
    assert "not installed" in text
    assert "met" not in text


@pytest.mark.skipif(not load.is_installed(), reason="wrk is not installed")
def test_the_ceiling_is_started_checked_loaded_and_stopped(tmp_path: Path) -> None:
    port = server.free_port()
    core = min(os.sched_getaffinity(0))
    argv = [sys.executable, str(Path(ceiling.__file__)), str(port)]
    running = server.launch("ceiling", argv, port=port, core=core, env={}, folder=tmp_path).wait(server.listens)
    try:
        traffic = Traffic([Request("POST", "/7", body="x" * 100)])
        assert traffic.check(running.base_url) == 7
        found = load.run(running.base_url, traffic, connections=2, seconds=0.2)
        assert found.requests > 0
        assert found.refused == found.broken == 0
        with pytest.raises(WrongAnswer):
            Traffic([Request("GET", "/none")]).check(running.base_url)
    finally:
        running.stop()
    assert not cpu.tree_of(running.pid)
    deadline = time.monotonic() + 5
    while server.listens(running) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.listens(running)
