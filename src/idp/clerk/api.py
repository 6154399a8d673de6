"""Clerk's Backend API: the list of users, within its rate limits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from idp.clerk.json_text import read_json
from idp.settings import Secret

PAGE = 500  # users, Clerk's maximum
_WINDOW = 10.0  # seconds, of Clerk's rate limits
_PER_WINDOW = {"production": 1000, "development": 100}  # requests
_SHARE = 0.5  # of the limit; the rest is for the applications of the instance
_ATTEMPTS = 6
_MAX_WAIT = 60.0  # seconds
_TIMEOUT = 30.0  # seconds
_Json = dict[str, Any]


class ClerkApiError(Exception):
    """Clerk's API refused or could not be reached; the text says what to do, and contains no secret."""


class ClerkApi:
    """Clerk's Backend API.

    Args:
        client: sends requests.
        url: base URL with version.
        secret_key: of the instance.
    """

    def __init__(self, client: httpx2.AsyncClient, url: str, secret_key: Secret) -> None:
        self._client = client
        self._url = url
        self._headers = {"Authorization": f"Bearer {secret_key.reveal()}", "Accept": "application/json"}
        kind = "development" if secret_key.reveal().startswith("sk_test_") else "production"
        self._interval = _WINDOW / (_PER_WINDOW[kind] * _SHARE)
        self._next_at = 0.0

    async def users(self, *, limit: int, offset: int) -> list[_Json]:
        """Return a page of users, oldest first.

        Raises:
            ClerkApiError: the API refused, or cannot be reached.
        """
        found = await self._get(f"/users?limit={limit}&offset={offset}&order_by=%2Bcreated_at")
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise ClerkApiError("Clerk's list of users is not a list: check CLERK_API_URL.")
        return found

    async def user(self, clerk_id: str) -> _Json | None:
        """Return a user, None if there is none.

        Raises:
            ClerkApiError: the API refused, or cannot be reached.
        """
        found = await self._get(f"/users/{quote(clerk_id, safe='')}", may_be_missing=True)
        return found if isinstance(found, dict) else None

    async def _get(self, path: str, *, may_be_missing: bool = False) -> Any:
        problem = ""
        for attempt in range(_ATTEMPTS):
            await self._pace()
            try:
                answer = await self._client.get(f"{self._url}{path}", headers=self._headers)
            except httpx2.HTTPError as error:
                problem, wait = f"cannot be reached ({type(error).__name__})", 2.0**attempt
            else:
                if answer.status_code == 200:
                    return _read(answer)
                if answer.status_code == 404 and may_be_missing:
                    return None
                if answer.status_code != 429 and answer.status_code < 500:
                    raise ClerkApiError(_refusal(answer.status_code))
                problem, wait = f"answered {answer.status_code}", _wait_of(answer, 2.0**attempt)
            if attempt < _ATTEMPTS - 1:
                await asyncio.sleep(min(wait, _MAX_WAIT))
        raise ClerkApiError(f"Clerk's API {problem} {_ATTEMPTS} times: try again later.")

    async def _pace(self) -> None:
        """Wait until the next request is due."""
        now = time.monotonic()
        due = max(now, self._next_at)
        self._next_at = due + self._interval
        await asyncio.sleep(due - now)


def _read(answer: httpx2.Response) -> Any:
    try:
        return read_json(answer.content)
    except ValueError:
        raise ClerkApiError("Clerk's API did not answer JSON: check CLERK_API_URL.") from None


def _refusal(status: int) -> str:
    if status in {401, 403}:
        return f"Clerk's API answered {status}: check CLERK_SECRET_KEY (sk_…)."
    return f"Clerk's API answered {status}: check CLERK_API_URL."


def _wait_of(answer: httpx2.Response, otherwise: float) -> float:
    """Return for how many seconds Clerk asks to wait (RFC 9110 section 10.2.3)."""
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isdigit() and len(given) < 6 else otherwise


@asynccontextmanager
async def open_api(url: str, secret_key: Secret) -> AsyncIterator[ClerkApi]:
    """Open the API for the length of the block.

    Args:
        url: `clerk.api_url`; the version is added.
        secret_key: of the instance.
    """
    limits = httpx2.Limits(max_connections=4)
    async with httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False, limits=limits) as client:
        yield ClerkApi(client, f"{url.rstrip('/').removesuffix('/v1')}/v1", secret_key)
