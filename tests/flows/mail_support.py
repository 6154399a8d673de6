"""Reads mails from the mailbox of `idp dev`."""

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from factories import PASSWORD, Person, Service

Mail = dict[str, Any]


async def mails(service: Service, to: str) -> list[Mail]:
    """Return all mails to an address, the newest first."""
    answer = await service.client.get("/dev/mailbox", headers={"Accept": "application/json"})
    return [mail for mail in answer.json() if mail["to"].casefold() == to.casefold()]


async def mails_about(service: Service, to: str, subject: str, *, count: int = 1) -> list[Mail]:
    """Return the mails to an address with this subject, the newest first, when there are so many."""
    for _ in range(300):
        found = [mail for mail in await mails(service, to) if subject in mail["subject"]]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"no mail about {subject!r}")


def token_in(mail: Mail) -> str:
    """Return the token of a mail's link."""
    (token,) = re.findall(r"token=([0-9a-f]+)", mail["links"][0])
    return token


VERIFY, RESET, CONFIRM_NEW = "Confirm your e-mail", "Choose a new password", "Confirm your new e-mail"


async def sign_up(service: Service, email: str, password: str = PASSWORD) -> str:
    """Register an address through S4's door, and return the token that was mailed."""
    answer = await service.client.post("/api/auth/email/register", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return token_in((await mails_about(service, email, VERIFY))[0])


async def ask_again(service: Service, email: str, *, count: int) -> str:
    """Ask for another verification link, and return its token; it is the mail of this number."""
    assert (await service.client.post("/api/auth/email/verify/resend", json={"email": email})).status_code == 200
    return token_in((await mails_about(service, email, VERIFY, count=count))[0])


async def verify(service: Service, token: str) -> httpx2.Response:
    return await service.client.post("/api/auth/email/verify", json={"token": token})


async def ask_for_reset(service: Service, email: str, *, count: int = 1) -> str:
    """Ask for a reset link, and return its token; it is the mail of this number."""
    answer = await service.client.post("/api/auth/password/reset/request", json={"email": email})
    assert answer.status_code == 200, answer.text
    return token_in((await mails_about(service, email, RESET, count=count))[0])


async def reset(service: Service, token: str, password: str) -> httpx2.Response:
    body = {"token": token, "new_password": password}
    return await service.client.post("/api/auth/password/reset/confirm", json=body)


async def log_in(service: Service, email: str, password: str = PASSWORD, *, path: str = "/auth/login") -> int:
    """Sign in and return the status."""
    return (await service.client.post(path, json={"email": email, "password": password})).status_code


async def verified(service: Service) -> Person:
    """Register a user with a verified address and a single session."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    return person


async def make_key(service: Service, person: Person) -> str:
    """Create an API key for a user."""
    body = {"name": "a key", "scopes": ["read"]}
    answer = await service.client.post("/v1/api-keys", headers=person.bearer, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"]


async def median_times(
    first: Callable[[], Awaitable[httpx2.Response]], second: Callable[[], Awaitable[httpx2.Response]], rounds: int
) -> tuple[float, float]:
    """Return how long two requests take, in seconds; taken in turns, so that both meet the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for ask, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            answer = await ask()
            taken.append(time.perf_counter() - start)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.02)  # what is done after the answer is over when the next one begins
    return statistics.median(times[0]), statistics.median(times[1])


def refused(answer: httpx2.Response) -> tuple[int, str, str]:
    """Return all that tells one refusal from another."""
    body = answer.json()
    return answer.status_code, body["code"], body["detail"]


INVALID = (400, "one_time_token_invalid", "Invalid token")
