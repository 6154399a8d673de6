"""`idp config check --online`: a sentence for each issuer whose keys cannot be used (SEC-66, SEC-68)."""

import asyncio
import json
from pathlib import Path

import pytest

from authn.issuer_support import Answer, Issuer, http, running_issuer

PROGRAM = Path(__file__).resolve().parents[2] / ".venv/bin/idp"


async def check(issuer: Issuer) -> tuple[int, str]:
    providers = json.dumps({"corp": {"issuer": issuer.url, "audience": ["a"]}})
    command = await asyncio.create_subprocess_exec(
        str(PROGRAM), "config", "check", "--online", "--profile", "development",
        env={"IDP_OIDC__PROVIDERS": providers, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(command.communicate(), 60)
    return command.returncode or 0, output.decode()


async def html(_: Issuer, __: str) -> bytes:
    return http(b"<html>Log in</html>", kind="text/html")


async def redirect(issuer: Issuer, _: str) -> bytes:
    return http(b"", status="302 Found", more=f"Location: {issuer.url}/elsewhere\r\n")


async def huge(_: Issuer, __: str) -> bytes:
    return http(b'{"issuer": "' + b"x" * 1_000_000 + b'"}')


async def test_an_issuer_that_answers_as_it_should_is_good() -> None:
    async with running_issuer() as issuer:
        code, said = await check(issuer)
        assert (code, "The settings are valid." in said) == (0, True), said


async def test_an_issuer_that_names_another_is_said_to() -> None:
    """SEC-68."""
    async with running_issuer() as issuer:
        issuer.named = "https://another.example.com"
        code, said = await check(issuer)
        assert code == 1
        assert "names another issuer, 'https://another.example.com'" in said


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(html, "did not answer a JSON object"), (redirect, "answered 302"), (huge, "answered more than")],
)
async def test_an_issuer_that_answers_something_else_is_told_apart(answer: Answer, reason: str) -> None:
    async with running_issuer() as issuer:
        issuer.answer = answer
        code, said = await check(issuer)
        assert code == 1
        assert f"The issuer {issuer.url} cannot be used" in said
        assert reason in said
