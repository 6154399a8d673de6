"""`idp config check`: every problem of the settings of providers, by name, and with --online what they publish."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from authn.issuer_support import http
from factories import root_secret
from federation.provider_support import APPLE_PEM, SECRET, Asked, FakeProvider, running_provider
from idp.cli.production import unsafe
from idp.settings import load

PROGRAM = Path(__file__).resolve().parents[2] / ".venv/bin/idp"
GOOD = {"client_id": "idp", "client_secret": SECRET, "issuer": "https://login.corp.example"}
APPLE = {"preset": "apple", "client_id": "com.corp.signin", "team_id": "T", "key_id": "K", "private_key": APPLE_PEM}
# What is added to good settings (None leaves a setting out), and what the sentence says.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "plain http": ({"issuer": "http://login.corp.example"}, ".issuer is 'http://login.corp.example'"),
    "no URL": ({"issuer": "login.corp.example"}, ".issuer is 'login.corp.example'"),
    "credentials": ({"issuer": "https://a:b@login.corp.example"}, ".issuer contains credentials"),
    "keys over http": ({"jwks_url": "http://login.corp.example/keys"}, ".jwks_url is 'http://"),
    "no issuer": ({"issuer": None}, ": issuer is missing for the preset oidc"),
    "no secret": ({"client_secret": None}, ": client_secret is missing for the preset oidc"),
    "a placeholder": (
        {"client_secret": "<the client secret>"},
        ".client_secret is shorter than 16 characters or looks",
    ),
    "a short secret": ({"client_secret": "short"}, ".client_secret is shorter than 16 characters"),
    "no client id": ({"client_id": " "}, ".client_id is empty"),
    "no tenant": ({"preset": "entra", "issuer": None}, ": tenant is missing for the preset entra"),
    "every tenant": ({"preset": "entra", "issuer": None, "tenant": "common"}, ": tenant must be the directory"),
    "no domain": ({"preset": "auth0", "issuer": None}, ": domain is missing"),
    "no pool": ({"preset": "cognito", "issuer": None, "region": "eu-central-1"}, ": pool is missing"),
    "refused passwords of nobody": ({"refuse_passwords": True}, ".refuse_passwords is true without email_domains"),
    "an address as a domain": ({"email_domains": ["a@corp.example"]}, ".email_domains contains 'a@corp.example'"),
    "a pattern as a domain": ({"trusted_email_domains": ["*"]}, ".trusted_email_domains contains '*'"),
    "an unknown claim": ({"claims": {"audience": "x"}}, ".claims contains audience"),
}


def problems(**tables: dict[str, Any]) -> list[str]:
    return unsafe(
        load(
            "production",
            environ={
                "DATABASE_URL": "postgresql://db/idp",
                "IDP_SECRET_KEY": root_secret(),
                "IDP_FEDERATION__PROVIDERS": json.dumps(tables),
            },
        ).settings
    )


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (GOOD | changes).items() if value is not None}


def test_good_settings_have_no_problem() -> None:
    assert problems(corp=GOOD, apple=APPLE) == []


@pytest.mark.parametrize("case", BAD)
def test_each_problem_is_named(case: str) -> None:
    """SEC-11 SEC-66."""
    changes, sentence = BAD[case]
    (problem,) = problems(corp=changed(**changes))
    assert problem.startswith(f"federation.providers.corp{sentence}"), problem
    assert problem.endswith(".")
    assert SECRET not in problem


def test_apples_key_is_read() -> None:
    (problem,) = problems(apple={**APPLE, "private_key": "<content of the .p8 file>"})
    assert problem.startswith("federation.providers.apple: private_key is not the PEM")


@pytest.mark.parametrize("name", ["Corp", "a/b", "a b", "ä", "-x", "x" * 41, "a?b", "..", "a%2f"])
def test_a_name_must_be_usable_in_a_path(name: str) -> None:
    (problem,) = problems(**{name: GOOD})
    assert problem.startswith(f"federation.providers.{name}: the name is part of a path")


def test_a_domain_belongs_to_one_provider() -> None:
    bound = {**GOOD, "email_domains": ["Corp.example"]}
    (problem,) = problems(one=bound, other={**bound, "email_domains": ["x.example", "corp.example"]})
    assert problem.startswith("federation.providers.other.email_domains contains corp.example, which federation.")


# --- online -----------------------------------------------------------------------------------------------------------


async def check_online(**tables: dict[str, Any]) -> tuple[int, str]:
    command = await asyncio.create_subprocess_exec(
        str(PROGRAM), "config", "check", "--online", "--profile", "development",
        env={"IDP_FEDERATION__PROVIDERS": json.dumps(tables), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(command.communicate(), 60)
    return command.returncode or 0, output.decode()


async def html(provider: FakeProvider, asked: Asked) -> bytes:
    return http(b"<html>Log in</html>", kind="text/html")


async def test_online_says_what_each_provider_publishes_wrongly() -> None:
    """SEC-66 SEC-68: a sentence each."""
    async with (
        running_provider() as good,
        running_provider(metadata={"issuer": "https://evil.example"}) as liar,
        running_provider(hooks={"/.well-known/openid-configuration": html}) as page,
        running_provider(metadata={"token_endpoint": "http://10.0.0.1/"}) as private,
        running_provider(metadata={"authorization_endpoint": None}) as incomplete,
        running_provider(kids=[]) as keyless,
    ):
        providers = {"liar": liar, "page": page, "private": private, "incomplete": incomplete, "keyless": keyless}
        tables = {name: {**GOOD, "issuer": each.issuer} for name, each in providers.items()}
        tables["gone"] = {**GOOD, "issuer": "http://127.0.0.1:9"}
        code, said = await check_online(good={**GOOD, "issuer": good.issuer}, **tables)
        assert (code, "provider good" in said) == (1, False)
        lines = dict(
            line.removeprefix("The provider ").split(" cannot be used: ")
            for line in said.splitlines()
            if " cannot be used: " in line
        )
        assert lines.keys() == tables.keys(), said
        for name, reason in {
            "liar": "names another issuer, 'https://evil.example'",
            "page": "did not answer a JSON object",
            "private": "has the endpoint http://10.0.0.1/: it is not https",
            "incomplete": "missing required field `authorization_endpoint`",
            "keyless": "has no key for ES256, PS256, RS256",
            "gone": "cannot be reached",
        }.items():
            assert reason in lines[name], lines[name]
        code, said = await check_online(good={**GOOD, "issuer": good.issuer})
        assert (code, "The settings are valid." in said) == (0, True), said
