"""Connection limits: one client cannot starve others; and the client's address."""

import asyncio
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx2
import pytest

from factories import Service, prepare, root_secret, running
from flows.test_bad_input import raw
from idp.cli.dev_process import build
from idp.cli.server import uvicorn_server
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.connections import connections_for
from idp.ops.forwarded import TrustedProxies
from idp.settings import load


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def address_of(service: Service) -> tuple[str, int]:
    host, port = service.base_url.removeprefix("http://").split(":")
    return host, int(port)


@asynccontextmanager
async def idle_connections(service: Service, number: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    opened = [await asyncio.open_connection(*address_of(service)) for _ in range(number)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    "request_sent_ahead",
    [
        b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
        b"POST /auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ],
)
async def test_requests_sent_ahead_and_never_read_take_no_memory(service: Service, request_sent_ahead: bytes) -> None:
    """Four connections offer 4 MB each of requests and read no answer."""
    flood = request_sent_ahead * (4_000_000 // len(request_sent_ahead))
    loop = asyncio.get_running_loop()
    sockets = []
    before = resident_bytes()
    for _ in range(4):
        client = socket.create_connection(address_of(service))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        sockets.append(client)
    sending = [asyncio.create_task(loop.sock_sendall(client, flood)) for client in sockets]
    slowest = 0.0
    for _ in range(20):
        began = loop.time()
        assert (await service.client.get("/healthz")).status_code == 200
        slowest = max(slowest, loop.time() - began)
        await asyncio.sleep(0.1)
    grown = resident_bytes() - before
    assert not any(task.done() for task in sending), "everything was read, and is queued somewhere"
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    for client in sockets:
        client.close()
    assert grown < 40_000_000
    assert slowest < 1


async def test_requests_sent_ahead_are_all_answered_in_their_order(service: Service) -> None:
    """Whoever reads gets every answer, bodies and small pieces included."""
    body = b'{"email": "nobody@example.com"}' + b" " * 5_000
    post = b"POST /auth/validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    requests = [
        b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-request-id: number-%d\r\n\r\n" % n
        if n % 2
        else (post % (len(body), body)).replace(b"host: a", b"host: a\r\nx-request-id: number-%d" % n)
        for n in range(200)
    ]
    requests[-1] = requests[-1].replace(b"host: a", b"host: a\r\nconnection: close")
    whole = b"".join(requests)
    for size in (len(whole), 700, 65_536):
        answer = await raw(service, *(whole[at : at + size] for at in range(0, len(whole), size)), wait=30)
        numbers = [int(part.split(b"\r\n")[0]) for part in answer.split(b"x-request-id: number-")[1:]]
        assert numbers == list(range(200)), size


async def test_a_disconnected_clients_requests_are_cancelled(service: Service) -> None:
    """What was queued for a closed connection is neither run nor answered."""
    person = await service.register()
    head = f"GET /auth/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {person.token}\r\n\r\n".encode()
    _, writer = await asyncio.open_connection(*address_of(service))
    writer.write(head * 2_000)
    writer.transport.abort()
    await asyncio.sleep(0.3)
    assert (await service.client.get("/healthz")).status_code == 200


async def test_silent_connections_do_not_block_other_clients(
    postgres: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the limit the silent ones are closed, the oldest first; it is counted and logged."""
    environ = {"IDP_SERVER__MAX_CONNECTIONS": "20"}
    async with running(postgres.create_database("silent"), environ=environ) as service:
        async with idle_connections(service, 60) as readers:
            answer = await raw(service, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert [reader.at_eof() or reader.exception() is not None for reader in readers[:30]] == [True] * 30
        metrics = (await service.client.get("/metrics")).text
    assert 'idp_connections_dropped_total{reason="silent"}' in metrics
    assert "too many connections" in capsys.readouterr().out


async def test_one_address_has_its_share_and_trusted_proxies_have_no_limit(postgres: EmbeddedPostgres) -> None:
    """With every connection of an address at work, a further one is refused; a proxy brings many."""
    url = postgres.create_database("share")
    limit = {"IDP_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "5"}
    for proxies, expected in ({}, b""), ({"IDP_TRUSTED_PROXIES": "127.0.0.0/8"}, b"HTTP/1.1 200 "):
        async with running(url, environ=limit | proxies) as service:
            lock = "BEGIN; LOCK idp.users IN ACCESS EXCLUSIVE MODE"
            blocker = await asyncpg.connect(service.database_url)
            await blocker.execute(lock)
            body = b'{"email": "somebody@example.com", "password": "a wrong guess"}'
            head = (
                b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            )
            busy = [await asyncio.open_connection(*address_of(service)) for _ in range(6)]
            for _, writer in busy:
                writer.write(head % len(body) + body)
            await asyncio.sleep(0.3)
            answer = await raw(service, b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            await blocker.close()
            for _, writer in busy:
                writer.close()
            assert answer[:13] == expected, proxies


def test_the_limit_of_open_files_is_raised_and_connections_stay_below_it() -> None:
    code = (
        "import resource; from idp.ops.connections import raise_file_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1024))\n"
        "print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1024", "1024"]
    assert connections_for(1024, 10_000) == 768
    assert connections_for(65_536, 10_000) == 10_000
    assert connections_for(64, 10_000) == 48


@pytest.mark.parametrize(
    ("networks", "host", "trusted"),
    [
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["::ffff:127.0.0.0/104"], "127.0.0.1", True),
        (["10.0.0.0/8"], "::ffff:a01:203", True),
        (["10.0.0.0/8"], "::a01:203", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["10.0.0.0/8"], "no address", False),
    ],
)
def test_a_mapped_address_is_the_one_it_maps(networks: list[str], host: str, trusted: bool) -> None:
    """RFC 4291 section 2.5.5.2."""
    assert (host in TrustedProxies(networks)) is trusted


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([b"203.0.113.5"], "203.0.113.5"),
        ([b"::ffff:203.0.113.5"], "203.0.113.5"),
        ([b"203.0.113.5, ::ffff:10.1.2.3"], "203.0.113.5"),
        ([b"6.6.6.6, 203.0.113.5", b"10.0.0.1"], "203.0.113.5"),
        ([b"203.0.113.5:4711"], "203.0.113.5"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"6.6.6.6, unknown, 10.0.0.7"], "10.0.0.7"),
        ([b"10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        ([b""], None),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(forwarded: list[bytes], client: str | None) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client_of(forwarded) == client


async def test_a_dual_stack_listener_trusts_a_proxy_over_ipv4(postgres: EmbeddedPostgres) -> None:
    """On `::` the proxy is ::ffff:127.0.0.1; the audit has the client's plain address."""
    url = postgres.create_database("both_families")
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind(("::", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = listener.getsockname()[1]
    variables = {"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret(), "IDP_TRUSTED_PROXIES": "127.0.0.0/8"}
    loaded = load("development", environ=variables)
    await prepare(loaded)
    server = uvicorn_server(build(loaded), loaded.settings.server)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            body = {"email": "nobody@example.com", "password": "a wrong guess"}
            for forwarded in ("203.0.113.9", "::ffff:203.0.113.9"):
                headers = {"X-Forwarded-For": forwarded}
                assert (await client.post("/auth/login", json=body, headers=headers)).status_code == 401
            assert (await client.post("/auth/login", json=body)).status_code == 401
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT ip_address AS ip FROM idp.audit_logs ORDER BY timestamp")
        await connection.close()
    finally:
        server.should_exit = True
        await serving
    assert [row["ip"] for row in rows] == ["203.0.113.9", "203.0.113.9", "127.0.0.1"]
