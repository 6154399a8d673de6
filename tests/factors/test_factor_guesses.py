"""Guesses of a code: limited for the user and the address, with Valkey and without, and never successful."""

import secrets
from collections.abc import AsyncIterator

import httpx2
import pytest

from factories import Person, Service, running
from factors.phone import password_only, prove, set_up
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


@pytest.fixture(scope="module", params=["with Valkey", "without Valkey"])
async def limited(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> AsyncIterator[Service]:
    url = valkey.url if request.param == "with Valkey" else None
    async with running(postgres.create_database(f"guesses_{secrets.token_hex(3)}"), valkey_url=url) as service:
        yield service


async def guess_until_refused(service: Service, person: Person) -> list[httpx2.Response]:
    """Guess recovery codes, with a new sign-in whenever one is over, at most a thousand times."""
    answers: list[httpx2.Response] = []
    token = ""
    for _ in range(1000):
        if not token:
            begun = await password_only(service, person)
            if begun.status_code != 403:
                return [*answers, begun]
            token = begun.json()["pending_token"]
        answers.append(await prove(service, token, f"aaaa-bbbb-{secrets.token_hex(2)}"))
        if answers[-1].status_code == 429:
            break
        if answers[-1].json()["code"] == "sign_in_expired":
            token = ""
    return answers


async def test_a_thousand_guesses_end_in_429_and_never_in_a_session(limited: Service) -> None:
    person = await verified(limited)
    phone = await set_up(limited, person)
    answers = await guess_until_refused(limited, person)
    codes = [answer.json()["code"] for answer in answers]
    assert codes[-1] == "rate_limited"
    assert codes.count("second_factor_invalid") == 10  # as for passwords: of a user from one address, in 15 minutes
    assert set(codes) == {"second_factor_invalid", "sign_in_expired", "rate_limited"}
    begun = (await password_only(limited, person)).json()["pending_token"]
    assert (await prove(limited, begun, phone.code())).status_code == 429


async def test_wrong_codes_in_a_row_lock_the_account_for_new_devices(limited: Service) -> None:
    """SEC-8: also when each comes from another address."""
    person = await verified(limited)
    phone = await set_up(limited, person)
    begun = (await password_only(limited, person)).json()["pending_token"]
    await limited.sql(
        "INSERT INTO idp.sign_in_failures (user_id, failures, last_at) VALUES ($1, 100, now())", person.id
    )
    answer = await prove(limited, begun, phone.code())
    assert answer.json()["code"] == "second_factor_invalid"


async def test_tokens_are_not_guessed_either(limited: Service) -> None:
    answers = [await prove(limited, secrets.token_urlsafe(32), "123456") for _ in range(3)]
    assert {answer.json()["code"] for answer in answers} == {"sign_in_expired"}
    assert (await prove(limited, "ü" * 20, "123456")).status_code == 401
