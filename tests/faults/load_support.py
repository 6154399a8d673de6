"""Mixed requests to every process, each answer judged: success, or 503 as the catalogue has it, and nothing else."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from factories import PASSWORD
from faults.ledger_support import Key, Ledger, State
from faults.nodes_support import Cluster
from idp.errors import catalogue

# Seconds between two requests of a kind to a process.
PACE = {"sign-in": 0.4, "refresh": 0.2, "create": 0.15, "revoke": 0.25, "validate": 0.06, "me": 0.1}
NO_ANSWER, NOT_CONNECTED = "connection lost", "not connected"
_TIMEOUT = 25.0  # an answer that takes longer is a hang
_CODES = {code for code, error in catalogue().items() if error.status == 503}
_UNCERTAIN = {"outcome_unknown", NO_ANSWER}


@dataclass(frozen=True)
class Answer:
    """What a request got.

    Attributes:
        code: of a refusal, after its status if that is not 503, or NO_ANSWER, NOT_CONNECTED; empty for success.
        wrong: why nobody should ever get this answer; empty if it is right.
    """

    kind: str
    node: int
    began: float
    ended: float
    code: str = ""
    wrong: str = ""
    body: Any = None

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def succeeded(self) -> bool:
        return not self.code and not self.wrong


@dataclass
class _Session:
    email: str
    user_id: str
    access: str
    refresh: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}


class Load:
    """Requests of each kind to each process, from the start of a block to its end.

    Attributes:
        answers: every answer, in the order of the ends.
        ledger: what was acknowledged and refused.
    """

    def __init__(self, base_urls: list[str]) -> None:
        self.answers: list[Answer] = []
        self.ledger = Ledger()
        self._base_urls = base_urls
        self._clients: list[httpx2.AsyncClient] = []
        self._sessions: list[_Session] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False
        self._closing: list[httpx2.AsyncClient] = []

    async def start(self) -> None:
        """Register a person for each process, and begin."""
        self._clients = [_client(url) for url in self._base_urls]
        for client in self._clients:
            email = f"{secrets.token_hex(6)}@example.com"
            body = {"email": email, "password": PASSWORD, "name": "Pat"}
            said = (await client.post("/auth/register", json=body)).raise_for_status().json()
            self._sessions.append(_Session(email, said["user_id"], said["access_token"], said["refresh_token"]))
        actions = (self._sign_in, self._refresh, self._create, self._revoke, self._validate, self._me)
        for node in range(len(self._clients)):
            for kind, action in zip(PACE, actions, strict=True):
                self._tasks.append(asyncio.create_task(self._repeat(action, node, PACE[kind])))

    async def stop(self) -> None:
        """Let running requests end."""
        self._ended = True
        await asyncio.gather(*self._tasks)
        for client in self._clients + self._closing:
            await client.aclose()

    async def move(self, node: int, base_url: str) -> None:
        """Send new requests elsewhere, as a load balancer does before a process is stopped."""
        self._closing.append(self._clients[node])
        self._clients[node] = _client(base_url)

    async def _repeat(self, action: Callable[[int], Coroutine[Any, Any, None]], node: int, pace: float) -> None:
        while not self._ended:
            await action(node)
            await asyncio.sleep(pace * random.uniform(0.5, 1.5))

    # --- what is asked -----------------------------------------------------------------------------------------------

    async def _sign_in(self, node: int) -> None:
        body = {"email": self._sessions[node].email, "password": PASSWORD}
        answer = await self._ask("sign-in", node, "POST", "/auth/login", json=body)
        if answer.succeeded:
            self.ledger.sessions.append(answer.body["session_id"])

    async def _refresh(self, node: int) -> None:
        """Redeem a refresh token: after any refusal the same one must go on working."""
        session = self._sessions[node]
        body = {"refresh_token": session.refresh}
        answer = await self._ask("refresh", node, "POST", "/api/auth/refresh", json=body)
        if answer.succeeded:
            session.access, session.refresh = answer.body["access_token"], answer.body["refresh_token"]

    async def _create(self, node: int) -> None:
        name, headers = secrets.token_hex(8), self._sessions[node].bearer
        body = {"name": name, "scopes": ["read"]}
        answer = await self._ask("create", node, "POST", "/v1/api-keys", json=body, headers=headers)
        if answer.succeeded:
            self.ledger.keys.append(Key(answer.body["key_id"], answer.body["secret"], node))
        elif answer.code not in _UNCERTAIN:
            self.ledger.refused.append(name)

    async def _revoke(self, node: int) -> None:
        own = [key for key in self.ledger.live() if key.owner == node]
        if len(own) < 2:
            return
        key, headers = random.choice(own), self._sessions[node].bearer
        key.state = State.REVOKING
        answer = await self._ask("revoke", node, "DELETE", f"/v1/api-keys/{key.id}", headers=headers)
        if answer.succeeded:
            key.state, key.revoked_at = State.REVOKED, answer.ended
        else:
            key.state = State.UNKNOWN if answer.code in _UNCERTAIN else State.LIVE

    async def _validate(self, node: int) -> None:
        if not self.ledger.keys:
            return
        key = random.choice(self.ledger.keys)
        before = key.expected()

        def is_wrong(body: Any) -> str:
            if before is None or key.expected() is not before or body["valid"] is before:
                return ""
            return f"a key that is {key.state.name} is {'accepted' if body['valid'] else 'refused'}"

        await self._ask("validate", node, "POST", "/auth/validate", is_wrong, json={"token": key.secret})

    async def _me(self, node: int) -> None:
        session = self._sessions[node]

        def is_wrong(body: Any) -> str:
            return "" if body["email"] == session.email else "another person"

        await self._ask("me", node, "GET", "/auth/me", is_wrong, headers=session.bearer)

    async def _ask(
        self, kind: str, node: int, method: str, path: str, is_wrong: Callable[[Any], str] = lambda _: "", **more: Any
    ) -> Answer:
        began, body = time.monotonic(), None
        try:
            reply = await self._clients[node].request(method, path, **more)
        except httpx2.ConnectError:
            code, wrong = NOT_CONNECTED, ""
        except httpx2.TimeoutException:
            code, wrong = NO_ANSWER, f"no answer within {_TIMEOUT:.0f} s"
        except httpx2.TransportError:
            code, wrong = NO_ANSWER, ""
        else:
            code, wrong = _judge(reply)
            body = reply.json() if reply.is_success else None
            wrong = wrong or (is_wrong(body) if reply.is_success else "")
        answer = Answer(kind, node, began, time.monotonic(), code, wrong and f"{kind}: {wrong}", body)
        self.answers.append(answer)
        return answer

    # --- what came of it ---------------------------------------------------------------------------------------------

    def all_answered_since(self, moment: float) -> bool:
        """Whether each process has answered each kind of request that began after this moment."""
        seen = {(each.kind, each.node) for each in self.answers if each.succeeded and each.began > moment}
        return len(seen) == len(PACE) * len(self._clients)

    def refusals_since(self, moment: float) -> list[str]:
        """Return what went wrong lately, for the message of a test that fails."""
        return [
            f"{each.kind} at {each.node}: {each.code} {each.wrong}"
            for each in self.answers
            if each.began > moment and not each.succeeded
        ][-20:]

    def last_refusal(self) -> float:
        """Return when the last request ended that had no success."""
        return max((each.ended for each in self.answers if not each.succeeded), default=0.0)


def _client(base_url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=base_url, timeout=_TIMEOUT, limits=httpx2.Limits(max_connections=None))


def _judge(reply: httpx2.Response) -> tuple[str, str]:
    """Return the code of a refusal, and what is wrong with it."""
    if reply.is_success:
        return "", ""
    try:
        code = str(reply.json()["code"])
    except (ValueError, KeyError):
        return str(reply.status_code), f"{reply.status_code} without a code: {reply.text[:200]}"
    if reply.status_code != 503 or code not in _CODES:
        return f"{reply.status_code} {code}", f"{reply.status_code}: {reply.text[:300]}"
    return code, "" if int(reply.headers.get("retry-after", "0")) >= 1 else f"{code} without Retry-After"


@contextmanager
def load_on(cluster: Cluster) -> Iterator[Load]:
    """Run the load for the length of the block."""
    load = Load([node.base_url for node in cluster.nodes])
    cluster.loop.run(load.start())
    try:
        yield load
    finally:
        cluster.loop.run(load.stop())
