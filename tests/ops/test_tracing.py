"""Traces (decision 0056), exported to a real OTLP/HTTP receiver."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factories import PASSWORD, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from ops.otlp_receiver import Receiver, attributes, receiving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
async def traced(postgres: EmbeddedPostgres, valkey: EmbeddedValkey, receiver: Receiver) -> AsyncIterator[Service]:
    """A service that traces every request."""
    environ = {
        "IDP_TRACING__ENDPOINT": receiver.url,
        "IDP_TRACING__HEADERS": "X-Collector-Key=hidden-key, x-other=1",
        "IDP_TRACING__SAMPLE_RATIO": "1",
        "IDP_LOGGING__FORMAT": "json",
    }
    async with running(postgres.create_database("traced"), valkey_url=valkey.url, environ=environ) as service:
        yield service


async def _trace_of(receiver: Receiver, route: str) -> list[object]:
    async with asyncio.timeout(15):
        while not (found := [span for span in receiver.requests() if span.name.endswith(f" {route}")]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def test_a_request_is_a_span_with_its_route_and_what_it_waited_for(traced: Service, receiver: Receiver) -> None:
    person = await traced.register()
    await traced.client.get("/auth/me?secret=in-the-query", headers=person.bearer)
    (span, *_) = await _trace_of(receiver, "/auth/register")
    assert span.name == "POST /auth/register"
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/auth/register",
        "http.response.status_code": 200,
    }
    children = receiver.children(span)
    assert {"db insert", "db select", "valkey"} <= {child.name for child in children}
    assert {name for child in children for name in attributes(child)} <= {"db.system.name", "error.type"}
    assert all(span.start_time_unix_nano <= child.start_time_unix_nano for child in children)
    assert receiver.headers["x-collector-key"] == "hidden-key"
    assert receiver.resources[-1]["service.name"] == "idp"


async def test_fast_routes_pages_and_refusals_are_traced_too(traced: Service, receiver: Receiver) -> None:
    """Routes that the framework never sees; a path that nobody serves has no name."""
    person = await traced.register()
    await traced.validate(person.token)
    await traced.client.get("/.well-known/jwks.json")
    await traced.client.get("/auth/me", headers={"Authorization": "Bearer wrong-and-secret"})
    await traced.client.get("/nobody/serves/this-secret-path")
    for route in ("/auth/validate", "/.well-known/jwks.json", "(none)"):
        await _trace_of(receiver, route)
    refused = [attributes(span)["http.response.status_code"] for span in await _trace_of(receiver, "/auth/me")]
    assert 401 in refused
    await asyncio.sleep(2.5)
    secrets = (PASSWORD, person.token, person.email, person.refresh_token, "wrong-and-secret", "this-secret-path")
    assert not [each for each in (*secrets, "in-the-query") if each.encode() in receiver.raw]


async def test_the_trace_of_the_caller_is_continued(traced: Service, receiver: Receiver) -> None:
    await traced.client.get("/healthz", headers=SAMPLED)
    async with asyncio.timeout(15):
        while not (found := [span for span in receiver.requests() if span.trace_id.hex() == TRACE]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert found[0].parent_span_id.hex() == PARENT


@pytest.mark.parametrize(
    "header",
    [
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        "00-1-2-01",
        "é" * 4000,
        "",
    ],
)
async def test_a_malformed_traceparent_is_ignored(traced: Service, header: str) -> None:
    answer = await traced.client.get("/healthz", headers=[(b"traceparent", header.encode())])
    assert answer.status_code == 200


async def test_an_unsampled_caller_stays_unsampled(traced: Service, receiver: Receiver) -> None:
    trace = "1" * 32
    await traced.client.get("/healthz", headers={"traceparent": f"00-{trace}-{PARENT}-00"})
    await traced.client.get("/readyz")
    await _trace_of(receiver, "/readyz")
    assert not [span for span in receiver.requests() if span.trace_id.hex() == trace]


@pytest.mark.parametrize(("trusts", "expected"), [("false", range(40)), ("true", range(200, 201))])
async def test_the_callers_flag_forces_sampling_only_if_it_is_trusted(
    postgres: EmbeddedPostgres, trusts: str, expected: range
) -> None:
    async with receiving() as receiver:
        environ = {
            "IDP_TRACING__ENDPOINT": receiver.url,
            "IDP_TRACING__SAMPLE_RATIO": "0.05",
            "IDP_TRACING__TRUST_SAMPLED_FLAG": trusts,
        }
        database = postgres.create_database(f"flag_{trusts}")
        async with running(database, environ=environ) as service:
            for number in range(1, 201):
                await service.client.get("/healthz", headers={"traceparent": f"00-{number:032x}-{PARENT}-01"})
        assert len(receiver.requests()) in expected


async def test_log_lines_have_the_ids_of_the_trace(
    traced: Service, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    from idp.ops import logging
    from idp.settings_schema import Logging

    logging.configure(Logging(format="json"))
    await traced.client.get("/healthz", headers={"traceparent": f"00-{'2' * 32}-{PARENT}-01"})
    await asyncio.sleep(0.3)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"request"' in line]
    (line,) = [line for line in lines if line.get("trace_id") == "2" * 32]
    assert len(line["span_id"]) == 16
    assert line["request_id"]


@pytest.mark.parametrize("collector", ["dead", "slow"])
async def test_a_dead_or_slow_collector_slows_no_request_and_fills_no_memory(
    postgres: EmbeddedPostgres, collector: str
) -> None:
    async with receiving() as receiver:
        receiver.delay = 30
        url = receiver.url if collector == "slow" else "http://127.0.0.1:1/v1/traces"
        environ = {"IDP_TRACING__ENDPOINT": url, "IDP_TRACING__SAMPLE_RATIO": "1"}
        async with running(postgres.create_database(f"collector_{collector}"), environ=environ) as service:
            times = []
            for _ in range(3000):
                began = time.perf_counter()
                assert (await service.client.get("/healthz")).status_code == 200
                times.append(time.perf_counter() - began)
            assert sorted(times)[2900] < 0.2  # the collector needs 30 s, or never answers
            processor = service.app.core.tracing._provider._active_span_processor._span_processors[0]
            assert len(processor._batch_processor._queue) <= 2048
            began = time.monotonic()
        assert time.monotonic() - began < 8  # it does not wait for the collector for long


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    """Off is free: no import, and no step more in a request. (The framework looks for a few of its constants.)"""
    program = (
        "import sys, secrets\n"
        "from idp.app import create_app\n"
        "from idp.settings import load\n"
        "environ = {'DATABASE_URL': 'postgresql://a:b@h/d', 'IDP_SECRET_KEY': secrets.token_urlsafe(48)}\n"
        "app = create_app(load('production', environ=environ))\n"
        "assert app.core.tracing is None\n"
        "assert app._envelope._serve == app._envelope._answer\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google')\n"
        "assert not [name for name in sys.modules if name.startswith(heavy)]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_exporting_threads_end_with_the_service() -> None:
    """Those of services that this file has stopped."""

    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "Batch" in thread.name]

    until = time.monotonic() + 15  # an export that is retried ends first
    while len(names()) > 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(names()) <= 2
