"""Requests that arrive together are answered in stages (decision 0061), each exactly once and on its own connection."""

import asyncio
import itertools
import random
import re
import socket
from functools import partial
from typing import Any

import pytest

from apikeys.key_support import make_key
from factories import Service, running
from flows.test_bad_input import raw
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.ops.batch import Batch, PreparedAnswer


async def no_app(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("not run")


class Connection:
    """Records the stages of its request in a shared list."""

    def __init__(self, name: str, stages: list[str], fault: str = "") -> None:
        self.name, self.stages, self.fault = name, stages, fault

    def _stage(self, stage: str) -> bool:
        self.stages.append(f"{stage} {self.name}")
        if self.fault == stage:
            raise RuntimeError(stage)
        return True

    def prepare(self) -> PreparedAnswer | None:
        self._stage("prepare")
        if self.fault == "wait":
            self.start(no_app)
            return None
        send = (lambda: False) if self.fault == "not writable" else lambda: self._stage("send")
        return PreparedAnswer(send, lambda: self._stage("finish") and None, no_app)

    def start(self, app: Any) -> None:
        assert app is no_app
        self.stages.append(f"start {self.name}")

    def drop(self) -> None:
        self.stages.append(f"drop {self.name}")


def run(*connections: Connection) -> None:
    """Answer these connections' requests in one iteration of an event loop."""

    async def iteration() -> None:
        batch = Batch()
        for each in connections:
            batch.add(each, asyncio.get_running_loop())
        await asyncio.sleep(0)

    asyncio.run(iteration())


def test_all_are_decided_then_written_then_recorded() -> None:
    stages: list[str] = []
    run(*(Connection(name, stages) for name in "abc"))
    assert stages == [f"{stage} {name}" for stage in ("prepare", "send", "finish") for name in "abc"]


def test_a_batch_is_bounded_so_that_nobody_waits_for_everyone() -> None:
    stages: list[str] = []
    run(*(Connection(str(number), stages) for number in range(70)))
    assert (
        stages.index("finish 0") < stages.index("prepare 32") < stages.index("finish 32") < stages.index("prepare 64")
    )
    assert sorted(stages) == sorted(f"{stage} {n}" for stage in ("prepare", "send", "finish") for n in range(70))


@pytest.mark.parametrize(
    ("fault", "stages_of_b"),
    [
        ("prepare", ["prepare b", "drop b"]),
        ("send", ["prepare b", "send b", "drop b"]),
        ("finish", ["prepare b", "send b", "finish b", "drop b"]),
        ("wait", ["prepare b", "start b"]),
        ("not writable", ["prepare b", "start b"]),
    ],
)
def test_one_that_fails_or_waits_keeps_no_other_from_its_answer(fault: str, stages_of_b: list[str]) -> None:
    stages: list[str] = []
    run(Connection("a", stages), Connection("b", stages, fault), Connection("c", stages))
    assert [stage for stage in stages if stage.endswith("b")] == stages_of_b
    for name in "ac":
        assert [stage for stage in stages if stage.endswith(name)] == [
            f"{s} {name}" for s in ("prepare", "send", "finish")
        ]


# --- over sockets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch, service: Service) -> list[tuple[str, int]]:
    """Return a list that collects path and status of every request that is counted and logged."""
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(
        service.app._envelope, "_observe", lambda scope, status, _: seen.append((scope["path"], status))
    )
    return seen


def head(token: str, number: int) -> bytes:
    return (
        f"GET /auth/me HTTP/1.1\r\nhost: a\r\nx-request-id: n{number}\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    )


async def at_once(service: Service, requests: list[bytes]) -> list[bytes]:
    """Send each request on a connection of its own, all before any answer is read; return the answers."""
    host, port = service.base_url.removeprefix("http://").split(":")
    streams = [await asyncio.open_connection(host, int(port)) for _ in requests]
    for (_, writer), request in zip(streams, requests, strict=True):
        writer.write(request)
    answers = [await asyncio.wait_for(_answer(reader), 10) for reader, _ in streams]
    for _, writer in streams:
        writer.close()
    return answers


async def _answer(reader: asyncio.StreamReader) -> bytes:
    answer = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", answer)
    assert length is not None, answer
    return answer + await reader.readexactly(int(length[1]))


async def test_each_of_many_callers_gets_the_own_answer(service: Service, finished: list[tuple[str, int]]) -> None:
    people = [await service.register() for _ in range(3)]
    finished.clear()
    askers = [(people[n % 3] if n % 4 else None, n) for n in range(90)]
    requests = [head(asker.token if asker else "rubbish", n) for asker, n in askers]
    for _ in range(2):  # the second time, every verdict is in memory
        for (asker, n), answer in zip(askers, await at_once(service, requests), strict=True):
            assert answer.count(b"HTTP/1.1 ") == 1
            assert f"x-request-id: n{n}\r\n".encode() in answer
            assert answer.startswith(b"HTTP/1.1 200 " if asker else b"HTTP/1.1 401 "), answer
            assert asker is None or f'"{asker.email}"'.encode() in answer
    assert len(finished) == 180
    assert finished.count(("/auth/me", 401)) == 2 * 23


async def test_a_refusal_is_counted_once(postgres: EmbeddedPostgres) -> None:
    """The limit of bad credentials counts each of them once, whichever way the request takes."""
    environ = {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "10"}
    async with running(postgres.create_database("counted_once"), environ=environ) as service:
        statuses = [
            (await service.client.get("/auth/me", headers={"X-API-Key": f"sk_live_unknown{number}"})).status_code
            for number in range(12)
        ]
    assert statuses == [401] * 10 + [429] * 2


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([1], id="head and body together"),
        pytest.param([0.7], id="body in two pieces"),
        pytest.param([0.1, 0.3, 0.5, 0.9], id="head and body in pieces"),
    ],
)
async def test_a_body_may_come_in_pieces(
    service: Service, pieces: list[float], finished: list[tuple[str, int]]
) -> None:
    person = await service.register()
    token = (await make_key(service, person))["secret"]
    body = f'{{"token":"{token}"}}'.encode()
    request = b"POST /auth/validate HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n"
    request += b"content-length: %d\r\n\r\n%b" % (len(body), body)
    ends = [0, *(int(len(request) * part) for part in pieces), len(request)]
    finished.clear()
    for _ in range(2):
        parts = [request[begin:end] for begin, end in itertools.pairwise(ends)]
        answer = await raw(service, *(part for part in parts if part))
        assert answer.count(b"HTTP/1.1 200 ") == 1, answer
        assert b'"valid":true' in answer
    assert finished == [("/auth/validate", 200)] * 2


async def test_what_the_connection_asks_for_is_kept(service: Service) -> None:
    """Expect: 100-continue (RFC 9110 section 10.1.1), HTTP/1.0, and several requests with one of another kind."""
    person = await service.register()
    me = head(person.token, 1)
    expecting = b"POST /auth/validate HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\n"
    expecting += b"content-type: application/json\r\ncontent-length: 13\r\n\r\n"
    answer = await raw(service, expecting, b'{"token":"a"}')
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), answer
    old = await raw(service, me.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert old.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in old.lower()
    last = me.replace(b"host: a", b"host: a\r\nconnection: close").replace(b"n1", b"n3")
    three = await raw(service, me + b"GET /nothing HTTP/1.1\r\nhost: a\r\nx-request-id: n2\r\n\r\n" + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", three) == [b"200", b"404", b"200"]
    assert re.findall(rb"x-request-id: n(\d)", three) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("first", ["GET /auth/me", "GET /healthz", "GET /nothing"])
@pytest.mark.parametrize(
    "behind", [b"Invalid\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
async def test_a_request_is_answered_before_what_is_wrong_behind_it(
    service: Service, first: str, behind: bytes
) -> None:
    """The refusal of the second would be taken for the answer to the first (RFC 9112 section 9.3.2; uvicorn 2238)."""
    person = await service.register()
    request = f"{first} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {person.token}\r\n\r\n".encode()
    for pieces in ([request + behind], [request, behind]):
        answer = await raw(service, *pieces)
        statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
        assert statuses[0] == (b"404" if first == "GET /nothing" else b"200"), answer
        assert statuses[1:] in ([], [b"400"]), "400 only if the first one was answered already"
        assert b"connection: close" in answer.lower()


def mixed(token: str, key: str, number: int, choice: int) -> tuple[bytes, bytes]:
    """Return one of several kinds of request, and the status of its answer."""
    own = f"host: a\r\nx-request-id: n{number}\r\n"
    bearer = f"authorization: Bearer {token}\r\n"
    body = f'{{"token":"{key}"}}'
    chunked = (
        "".join(f"{len(part):x}\r\n{part}\r\n" for part in (body[:7], body[7:])) + "0\r\nx-request-id: trailer\r\n\r\n"
    )
    json = "content-type: application/json\r\n"
    kinds = (
        (f"GET /auth/me HTTP/1.1\r\n{own}{bearer}\r\n", b"200"),
        (f"HEAD /auth/me HTTP/1.1\r\n{own}{bearer}\r\n", b"200"),
        (f"GET /auth/me HTTP/1.1\r\n{own}authorization: Bearer no\r\n\r\n", b"401"),
        (f"GET /auth/me HTTP/1.1\r\n{own}{bearer}content-length: 4\r\n\r\nGET ", b"200"),
        (f"GET /nothing HTTP/1.1\r\n{own}\r\n", b"404"),
        (f"GET /healthz HTTP/1.1\r\n{own}\r\n", b"200"),
        (f"GET /.well-known/jwks.json HTTP/1.1\r\n{own}\r\n", b"200"),
        (f"POST /auth/validate HTTP/1.1\r\n{own}{json}content-length: {len(body)}\r\n\r\n{body}", b"200"),
        (f"POST /auth/validate HTTP/1.1\r\n{own}{json}transfer-encoding: chunked\r\n\r\n{chunked}", b"200"),
        (f"POST /auth/validate HTTP/1.1\r\n{own}{json}content-length: 3\r\n\r\n[1]", b"422"),
        (f"POST /oauth2/token HTTP/1.1\r\n{own}content-length: 0\r\n\r\n", b"400"),
        (f"OPTIONS /oauth2/token HTTP/1.1\r\n{own}\r\n", b"204"),
    )
    request, status = kinds[choice % len(kinds)]
    return request.encode(), status


@pytest.mark.parametrize("seed", range(6))
async def test_any_mix_of_requests_in_any_pieces_is_answered_in_order(service: Service, seed: int) -> None:
    """No answer is lost, doubled or given to another request, on several connections at once."""
    chance = random.Random(seed)
    person = await service.register()
    key = (await make_key(service, person))["secret"]

    async def converse() -> None:
        requests = [mixed(person.token, key, n, chance.randrange(100)) for n in range(40)]
        last = mixed(person.token, key, 40, 0)[0].replace(b"host: a", b"host: a\r\nconnection: close")
        whole = b"".join(request for request, _ in requests) + last
        cuts = sorted({0, len(whole), *(chance.randrange(len(whole)) for _ in range(chance.choice((0, 3, 60))))})
        answer = await raw(service, *(whole[begin:end] for begin, end in itertools.pairwise(cuts)), wait=30)
        assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [*(status for _, status in requests), b"200"]
        assert re.findall(rb"x-request-id: (\w+)", answer) == [b"n%d" % n for n in range(41)]

    await asyncio.gather(*(converse() for _ in range(12)))


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/auth/validate", "origin: https://evil.example\r\ncontent-type: application/json", b"403"),
        ("/oauth2/token", "content-type: application/json", b"400"),
        ("/internal/validate-key", "origin: https://evil.example\r\ncontent-type: application/json", b"403"),
    ],
)
async def test_what_the_head_decides_does_not_wait_for_the_body(
    service: Service, path: str, headers: str, status: bytes
) -> None:
    """RFC 9110 section 10.1.1: who asks first is told without sending the body."""
    request = f"POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\n"
    answer = await raw(service, request.encode(), wait=2)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [status]


async def test_clients_that_close_their_side_are_answered(service: Service) -> None:
    """Each sends its request and the end of its stream; more of them than a batch has (RFC 9112 section 9.6)."""
    person = await service.register()
    host, port = service.base_url.removeprefix("http://").split(":")
    assert (await service.client.get("/auth/me", headers=person.bearer)).status_code == 200  # in memory from now on

    def burst() -> list[bytes]:
        opened = [socket.create_connection((host, int(port)), timeout=5) for _ in range(90)]
        for number, each in enumerate(opened):
            each.sendall(head(person.token, number))
            each.shutdown(socket.SHUT_WR)
        answers = [b"".join(iter(partial(each.recv, 65536), b"")) for each in opened]
        for each in opened:
            each.close()
        return answers

    answers = await asyncio.to_thread(burst)
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 90


async def test_a_client_that_hangs_up_does_not_disturb_the_batch(service: Service) -> None:
    person = await service.register()
    host, port = service.base_url.removeprefix("http://").split(":")
    leaving = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(20)]
    for writer in leaving:
        writer.write(head(person.token, 0))
        writer.transport.abort()
    answers = await at_once(service, [head(person.token, n) for n in range(20)])
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


async def test_behind_a_prefix_and_a_proxy_it_is_the_same(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    """Decision 0023: with and without the prefix in the path; the caller's address is the forwarded one."""
    environ = {"IDP_PUBLIC_URL": "http://localhost/idp", "IDP_TRUSTED_PROXIES": "127.0.0.1"}
    url = postgres.create_database("batch_prefix")
    async with running(url, valkey_url=valkey.url, environ=environ) as service:
        person = await service.register()
        addresses: list[str] = []
        service.app._envelope._observe = lambda scope, _status, _seconds: addresses.append(scope["client"][0])
        for path in ("/auth/me", "/idp/auth/me", "/idp/v1/me", "/v1/me"):
            for _ in range(2):
                headers = person.bearer | {"X-Forwarded-For": "203.0.113.7"}
                answer = await service.client.get(path, headers=headers)
                assert answer.status_code == 200, (path, answer.text)
                assert answer.json()["email"] == person.email
        refused = await service.client.get("/idp/idp/auth/me", headers=person.bearer)
        assert refused.status_code == 404
        wrong = await service.client.get("/idp/auth/me", headers={"Authorization": "Bearer rubbish"})
        assert wrong.json()["type"].startswith("/idp/errors/"), wrong.text
        assert addresses[:8] == ["203.0.113.7"] * 8


async def test_many_requests_on_one_connection_are_answered_in_turn(service: Service) -> None:
    """Only the first of those that arrive together skips the task, so that one client cannot hold the event loop."""
    person = await service.register()
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - began)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    requests = [head(person.token, n) for n in range(500)]
    requests[-1] = requests[-1].replace(b"host: a", b"host: a\r\nconnection: close")
    answer = await raw(service, b"".join(requests), wait=20)
    watching.cancel()
    assert re.findall(rb"x-request-id: n(\d+)", answer) == [b"%d" % n for n in range(500)]
    assert longest < 0.5
