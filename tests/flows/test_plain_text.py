"""Control, format and separator characters are refused in all user text, except joiners."""

import secrets
import sys
import unicodedata
from typing import Any

import pytest

from factories import PASSWORD, Service
from idp.plain_text import unseen_character, without_unseen

REFUSED = ["\x00", "\x1b", "\n", "\x7f", "\u009b", "\u00ad", "\u200b", "\u202e", "\u2028", "\u2029", "\u2066", "\ufeff",
           "\U000e0041"]  # fmt: skip


def test_every_character_of_the_four_categories_is_refused_but_for_joiners() -> None:
    """Cc, Cf, Zl and Zp, as this Python's Unicode has them; nothing that it calls a letter, mark, number or sign."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category in {"Cs", "Cn"}:
            continue
        wanted = category in {"Cc", "Cf", "Zl", "Zp"} and code not in {0x200C, 0x200D}
        assert (unseen_character(character) is not None) == wanted, hex(code)
        assert without_unseen(f"a{character}b") == ("ab" if wanted else f"a{character}b")


def bodies(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return a request for every field of text that is kept."""
    unique = secrets.token_hex(4)
    account = {"email": f"{unique}@example.com", "password": PASSWORD, "name": "Pat"}
    return [
        ("POST", "/auth/register", account | {"name": text}),
        ("POST", "/auth/register", account | {"device_info": text}),
        ("POST", "/auth/register", account | {"device_info": {"name": [text]}}),
        ("POST", "/auth/register", account | {"device_info": {text: 1}}),
        ("POST", "/api/auth/admin/users", {"email": f"{unique}@example.org", "name": text}),
        ("PATCH", "/v1/me", {"name": text}),
        ("POST", "/teams", {"name": text}),
        ("POST", "/teams", {"name": unique, "external_ref": text}),
        ("POST", "/domains", {"key": unique, "name": text}),
        ("POST", "/v1/api-keys", {"name": text, "scopes": ["read"]}),
        ("POST", "/auth/tokens", {"name": text, "scopes": ["read"]}),
        ("POST", "/auth/tokens", {"name": unique, "scopes": ["read"], "metadata": {"owner": text}}),
        ("POST", "/auth/tokens", {"name": unique, "scopes": ["read"], "metadata": {text: {"a": 1}}}),
    ]


@pytest.mark.parametrize("character", REFUSED, ids=ascii)
async def test_text_with_an_unseen_character_is_422(service: Service, character: str) -> None:
    """Names, references, keys' names, device_info and metadata alike."""
    admin = await service.register_admin()
    for method, path, body in bodies(f"Pat{character}Person"):
        answer = await service.client.request(method, path, json=body, headers=admin.bearer)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), (path, body)
    team = (await service.client.post("/teams", json={"name": secrets.token_hex(4)}, headers=admin.bearer)).json()["id"]
    answer = await service.client.patch(f"/teams/{team}", json={"name": f"a{character}"}, headers=admin.bearer)
    assert answer.status_code == 422


async def test_joiners_and_all_scripts_are_welcome(service: Service) -> None:
    """Persian needs U+200C, emoji of families U+200D; no name may consist of them alone."""
    admin = await service.register_admin()
    for text in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469\u200d\U0001f467"):
        for method, path, body in bodies(f"{text} {secrets.token_hex(4)}"):
            body["name"] = body.get("name") or "Pat"
            if "password" in body:
                body["email"] = service.new_email()
            if path == "/auth/tokens":
                body["name"] += secrets.token_hex(4)
            if path == "/domains":
                body["key"] = secrets.token_hex(4)
            answer = await service.client.request(method, path, json=body, headers=admin.bearer)
            assert answer.status_code in {200, 201}, (path, answer.text)
    for text in ("\u200d", "\u200c\u200c"):
        assert (await service.client.post("/teams", json={"name": text}, headers=admin.bearer)).status_code == 422


async def test_a_user_agent_that_moves_the_cursor_is_kept_without_that(service: Service) -> None:
    """U+009B begins a terminal's control sequence, and a header can hold it."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    answer = await service.client.post("/auth/login", json=body, headers={"User-Agent": b"evil\x9b2Jagent"})
    listed = await service.client.get(
        "/api/auth/sessions", headers={"Authorization": f"Bearer {answer.json()['access_token']}"}
    )
    assert listed.json()["sessions"][0]["user_agent"] == "evil2Jagent"
