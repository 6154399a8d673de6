"""Proof that no secret is in the clear where none belongs: logs, traces, metrics, the database (SEC-74, issue 14).

The tests' HTTP client notes the secrets that pass through it. Everything a test prints is searched when it ends, a
service's database when the service stops, spans when their receiver stops, the metrics at the end of the run. A secret
is a word there: a search takes as long as the text is, however many secrets there are.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import httpx2

_FIELDS = frozenset(
    {
        "access_token", "refresh_token", "id_token", "token", "api_key", "secret", "client_secret", "password",
        "new_password", "current_password", "code", "device_code", "code_verifier", "csrf_token", "session_token",
        "logout_token", "assertion", "client_assertion", "subject_token", "registration_access_token",
        "pending_token", "enrolment", "sealed_secret",
    }
)  # fmt: skip
_MIN_LENGTH = 16
_NO_SECRET = re.compile(r"[a-z_]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9.]+")  # a code of an error, an id
_WORD = re.compile(rf"[A-Za-z0-9_.~-]{{{_MIN_LENGTH},}}")
_BINARY = re.compile(r"\\\\?x([0-9a-f]{32,})")  # as PostgreSQL shows it
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'idp' AND table_type = 'BASE TABLE'"
_MAX_ROWS = 20_000
_SECONDS_FOR_DATABASES = 1.0  # of one run; the shared services are searched in any case

Leak = tuple[str, str]  # what and where


class Secrets:
    """The secrets of this test process, and where one was found."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._phrases: dict[str, str] = {}  # with characters that end a word
        self.leaks: list[Leak] = []
        self.databases = self.skipped = 0
        self._spent = 0.0

    def __len__(self) -> int:
        return len(self._kinds) + len(self._phrases)

    def add(self, value: object, kind: str) -> None:
        """Note a secret; what is short or looks like a name is none."""
        if not isinstance(value, str) or len(value) < _MIN_LENGTH or _NO_SECRET.fullmatch(value):
            return
        words = [word for word in _WORD.findall(value) if not _NO_SECRET.fullmatch(word)]
        if words:  # the longest is enough of it
            self._kinds[max(words, key=len).strip(".-~")] = kind
        else:
            self._phrases[value] = kind

    def search(self, text: str, where: str) -> list[Leak]:
        """Return the secrets in a text, and remember them."""
        words = (word.strip(".-~") for word in _WORD.findall(text))
        found = {f"{self._kinds[word]} {word[:8]}…": where for word in words if word in self._kinds}
        found |= {f"{kind} {value[:8]}…": where for value, kind in self._phrases.items() if value in text}
        self.leaks += found.items()
        return list(found.items())

    async def search_database(self, url: str, *, always: bool) -> None:
        """Search every table, if there is time left for it."""
        if not always and self._spent > _SECONDS_FOR_DATABASES:
            self.skipped += 1
            return
        began = time.perf_counter()
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            for (table,) in await connection.fetch(_TABLES):
                rows = await connection.fetch(f'SELECT t::text FROM idp."{table}" t LIMIT {_MAX_ROWS}')
                self.search("\n".join(_shown(row[0]) for row in rows), f"table idp.{table} of {urlsplit(url).path[1:]}")
        finally:
            await connection.close()
        self.databases += 1
        if not always:
            self._spent += time.perf_counter() - began


def _shown(row: str) -> str:
    """Return a row with its binary values also as text."""
    return " ".join([row, *(bytes.fromhex(each[: len(each) & ~1]).decode("latin-1") for each in _BINARY.findall(row))])


secrets_seen = Secrets()


class WatchingClient(httpx2.AsyncClient):
    """Notes the secrets in requests and responses."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **more: Any) -> httpx2.Response:
        response = await super().send(request, stream=stream, **more)
        kind = response.headers.get("content-type", "")
        for value in response.headers.get_list("set-cookie"):
            secrets_seen.add(value.partition(";")[0].partition("=")[2], "cookie")
        for name, value in parse_qsl(urlsplit(response.headers.get("location", "")).query):
            _note(name, value)
        if not stream and response.is_success and "json" in kind:
            _note_members(response.content)
            _note_request(request)
        return response


def _note_request(request: httpx2.Request) -> None:
    try:
        content = request.content
    except httpx2.RequestNotRead:
        return
    kind = request.headers.get("content-type", "")
    if "json" in kind:
        _note_members(content)
    elif "form-urlencoded" in kind:
        for name, value in parse_qsl(content.decode("latin-1")):
            _note(name, value)


def _note_members(body: bytes) -> None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    for name, value in _members(document):
        _note(name, value)


def _note(name: str, value: object) -> None:
    if name in _FIELDS:
        secrets_seen.add(value, name)


def _members(document: object) -> Iterator[tuple[str, object]]:
    nested: Iterable[object] = ()
    if isinstance(document, dict):
        yield from document.items()
        nested = document.values()
    elif isinstance(document, list):
        nested = document
    for each in nested:
        if isinstance(each, dict | list):
            yield from _members(each)
