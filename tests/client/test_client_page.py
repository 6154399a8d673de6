"""Checks the statements of docs/client.md and the package's README."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest

from client.client_support import bearer, serving
from client.machines import service_token
from factories import Service
from idp_client import AuthClient, JwksCache, OfflineVerifier, verifier
from idp_client.credentials import MAX_LENGTH

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/client.md").read_text("utf-8")
README = (ROOT / "clients/python/README.md").read_text("utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("block", [blocks(PAGE)[0], blocks(README)[0]], ids=["client.md", "README.md"])
async def test_the_service_on_the_page_runs(idp: Service, block: str) -> None:
    """The code as it stands, with the address of this idp in it."""
    for address in ("http://auth-service:8000", "https://id.example.com"):
        block = block.replace(address, idp.base_url)
    page: dict[str, object] = {"__name__": "page"}
    exec(compile(block, "page", "exec"), page)
    made = await service_token(idp, "read")
    async with serving(page["app"]) as http:
        assert (await http.get("/echo", headers=bearer(made["token"]))).status_code == 200
        assert (await http.get("/echo")).status_code == 401
        if "/me" in block:
            person = await idp.register()
            assert (await http.get("/me", headers=person.bearer)).json() == {"kind": "user", "email": person.email}


async def test_the_question_on_the_page_is_answered(idp: Service, capsys: pytest.CaptureFixture[str]) -> None:
    made = await service_token(idp, "read")
    page: dict[str, object] = {"__name__": "page"}
    code = blocks(PAGE)[1].replace("http://auth-service:8000", idp.base_url).replace("amp_live_…", made["token"])
    capsys.readouterr()
    await asyncio.to_thread(exec, compile(code, "page", "exec"), page)  # it runs a loop of its own
    assert f"True ['read'] {made['name']} None" in capsys.readouterr().out


def test_the_page_names_the_defaults() -> None:
    defaults = inspect.signature(JwksCache).parameters
    for name in ("refresh_after", "keys_live", "cool_down", "timeout"):
        assert f"| `{name}` | {defaults[name].default:.0f} |" in PAGE, name
    assert f"({verifier.REMEMBERED_TOKENS:,} of them)" in PAGE
    assert f"{MAX_LENGTH:,} characters" in PAGE
    assert f"leeway={inspect.signature(OfflineVerifier).parameters['leeway'].default:.0f}" in PAGE
    assert f"timeout={inspect.signature(AuthClient).parameters['timeout'].default}" in PAGE


def test_the_page_stays_short() -> None:
    assert len(PAGE.splitlines()) <= 200
