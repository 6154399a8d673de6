"""Clients that config/clients.toml declares, and those of `idp dev`: applied at the start, compared, never deleted."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from factories import Service, root_secret, running
from idp.dev import clients as dev_clients
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import ValidationFailed
from idp.provider import declared_clients
from idp.settings import SettingsError, config_dir
from provider.test_client_credentials import CLIENTS, ask

SECRET = "s" * 40
SECRET_OF_A = "[clients.a]\nclient_secret_env='SHOP_SECRET'\n"
SHOP = """
[clients.shop]
client_name = "Shop"
redirect_uris = ["https://shop.example.com/cb"]
client_secret_env = "SHOP_SECRET"

[clients.job]
scope = "read write"
client_secret_file = "{file}"

[clients.shop-app]
application_type = "native"
token_endpoint_auth_method = "none"
redirect_uris = ["com.example.shop:/cb"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings of its own, with secrets at hand."""
    folder = tmp_path / "config"
    shutil.copytree(config_dir(), folder)
    monkeypatch.setenv("IDP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    (tmp_path / "job").write_text("j" * 40 + "\n")
    declare(folder, SHOP.replace("{file}", str(tmp_path / "job")))
    return folder


def declare(folder: Path, text: str) -> None:
    (folder / "clients.toml").write_text(text)


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> str:
    return postgres.create_database(f"declared_{root_secret()[:8].lower().replace('-', '_')}")


async def until_applied(service: Service, number: int) -> list[dict[str, Any]]:
    admin = await service.register_admin()
    async with asyncio.timeout(10):
        while True:
            found = (await service.client.get(CLIENTS, headers=admin.bearer)).json()["clients"]
            if len(found) >= number:
                return list(found)
            await asyncio.sleep(0.05)


def differences(folder: Path, actual: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    declared = declared_clients.read(folder / "clients.toml", fetch_problem=lambda _: None, with_secrets=False)
    return [(each.client_id, each.member) for each in declared_clients.differences(declared, actual)]


async def test_declared_clients_exist_after_the_start(folder: Path, database: str) -> None:
    """Also if several processes start at once; the secrets are those that the file refers to."""
    environ = {"IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "http://two"}
    async with running(database, environ=environ) as one, running(database, environ=environ, migrate=False):
        found = await until_applied(one, 3)
        assert {each["client_id"] for each in found} == {"shop", "job", "shop-app"}
        assert all(each["declared"] for each in found)
        assert differences(folder, found) == []
        answer = await ask(one, {"client_id": "job", "client_secret": "j" * 40})
        assert (answer.status_code, answer.json()["scope"]) == (200, "read write")
        rows = await one.sql("SELECT action FROM idp.audit_logs WHERE action LIKE 'client.%'")
        assert [row["action"] for row in rows] == ["client.created"] * 3


async def test_drift_is_shown_and_the_next_start_ends_it(folder: Path, database: str) -> None:
    environ = {"IDP_SECRET_KEY": root_secret()}
    async with running(database, environ=environ) as service:
        await until_applied(service, 3)
        admin = await service.register_admin()
        body = {"client_name": "Shop", "redirect_uris": ["https://evil.example/cb"]}
        assert (await service.client.put(f"{CLIENTS}/shop", headers=admin.bearer, json=body)).status_code == 200
        await service.client.post(CLIENTS, headers=admin.bearer, json={"client_name": "By hand"})
        found = (await service.client.get(CLIENTS, headers=admin.bearer)).json()["clients"]
        assert differences(folder, found) == [("shop", "redirect_uris")]
        await service.client.delete(f"{CLIENTS}/job", headers=admin.bearer)
        found = (await service.client.get(CLIENTS, headers=admin.bearer)).json()["clients"]
        assert set(differences(folder, found)) == {("shop", "redirect_uris"), ("job", None)}
    declare(folder, SHOP.split("[clients.job]")[0])
    async with running(database, environ=environ, migrate=False) as service:
        async with asyncio.timeout(10):
            while differences(folder, found := await until_applied(service, 3)) != [("shop-app", None)]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert {each["client_name"] for each in found} == {"Shop", "shop-app", "By hand"}, "nothing is deleted"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{SECRET_OF_A}redirect_uri = ['https://a.example/']", "did you mean redirect_uris?"),
        (f"{SECRET_OF_A}redirect_uris = ['javascript:x']", "redirect_uris.0: The scheme"),
        ("[clients.a]\nscope = 'read'", "name its secret by client_secret_env or client_secret_file"),
        ("[clients.a]\nclient_secret_env = 'SHOP_SECRET'\nclient_secret_file = '/x'", "name its secret by"),
        ("[clients.a]\nclient_secret = 'in the file'", "client_secret is unknown"),
        ("[clients.a]\nclient_secret_env = 'NOT_SET_ANYWHERE'", "NOT_SET_ANYWHERE is not set."),
        ("[clients.a]\nclient_secret_file = '/does/not/exist'", "/does/not/exist"),
        ("[clients.a]\nclient_secret_env = 'SHORT_SECRET'", "fewer than 32 characters"),
        (f"{SECRET_OF_A}token_endpoint_auth_method = 'none'\nredirect_uris=['https://a.example/']", "without a secret"),
        ("[clients.a]\ngrant_types = ['password']\nclient_secret_env='SHOP_SECRET'", "grant_types"),
        ("[clients.'a b']\nclient_secret_env='SHOP_SECRET'", "A client_id has"),
        ("[clients.idp]\nclient_secret_env='SHOP_SECRET'", "our own login"),
        ("[clients.01990c7e-0000-7000-8000-000000000001]\nclient_secret_env='SHOP_SECRET'", "no UUID"),
        ("[clients]\na = 1", "it is not a table"),
        ("[client.a]\nscope = ''", "write [clients.<client_id>]"),
        ("clients = [", "cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setenv("SHORT_SECRET", "short")
    declare(folder, text)
    with pytest.raises(SettingsError) as raised:
        declared_clients.read(folder / "clients.toml", fetch_problem=lambda _: None)
    (problem,) = raised.value.problems
    assert sentence in problem
    assert SECRET not in problem
    assert "clients.toml" in problem


def test_the_file_of_the_checkout_declares_nothing() -> None:
    assert declared_clients.read(config_dir() / "clients.toml", fetch_problem=lambda _: None) == ()
    assert declared_clients.read(Path("/does/not/exist"), fetch_problem=lambda _: None) == ()


# --- idp dev ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database) as service:
        yield service


async def test_clients_of_development_are_the_same_in_every_run(service: Service) -> None:
    """What was changed meanwhile stays; `--client` adds redirect URIs, and makes new clients."""
    core = service.app.core
    first = await dev_clients.prepare(core, {})
    assert [each.client_id for each in first] == ["spa", "web", "service"]
    admin = await service.register_admin()
    web = (await service.client.get(f"{CLIENTS}/web", headers=admin.bearer)).json()
    assert (web["skip_consent"], web["declared"]) == (False, False)
    await service.client.put(f"{CLIENTS}/web", headers=admin.bearer, json=web | {"client_name": "Mine"})
    uri = "http://127.0.0.1:9401/cb"
    second = {each.client_id: each for each in await dev_clients.prepare(core, {"web": [uri], "other": [uri]})}
    assert second["web"].client_secret == first[1].client_secret
    assert second["web"].redirect_uris == (*first[1].redirect_uris, uri)
    assert second["other"].redirect_uris == (uri,)
    assert second["other"].client_secret not in {None, second["web"].client_secret}
    web = (await service.client.get(f"{CLIENTS}/web", headers=admin.bearer)).json()
    assert (web["client_name"], uri in web["redirect_uris"]) == ("Mine", True)
    answer = await ask(service, {"client_id": "service", "client_secret": second["service"].client_secret})
    assert answer.status_code == 200
    with pytest.raises(ValidationFailed):
        await dev_clients.prepare(core, {"web": ["javascript:alert(1)"]})
