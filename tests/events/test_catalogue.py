"""The catalogue, its JSON Schemas in docs/events, and events that fit them and hold no secret."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cli.support import idp
from factories import PASSWORD, Person, Service
from flows.mail_support import ask_for_reset, reset, sign_up, verify
from idp.db.engine import Database
from idp.events.catalogue import DATA, EventType
from idp.events.envelope import cloud_event
from idp.events.outbox import publish
from idp.events.reading import START, Position, StoredEvent, read_after
from idp.events.schemas import schema_of
from idp.events.shapes import IdentityChanged
from idp.users import identities
from idp.users.identities import ForeignIdentity

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "events"


def test_docs_have_the_schema_of_every_type_and_no_other(tmp_path: Path) -> None:
    """`idp events schemas docs/events` brings them up to date."""
    done = idp("events", "schemas", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"Wrote {len(EventType)} schemas to {tmp_path}.\n")
    generated = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert generated == {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert generated.keys() == {f"{type_}.json" for type_ in EventType}


def test_every_type_has_a_struct_and_every_struct_its_dataschema() -> None:
    assert DATA.keys() == set(EventType)
    names = {shape.dataschema for shape in DATA.values()}
    assert len(names) == len(set(DATA.values()))
    assert all(name.startswith("urn:idp:event:") for name in names)


async def test_data_of_another_struct_is_refused(service: Service) -> None:
    data = IdentityChanged(user_id="u", provider="p", subject="s")
    async with service.app.core.database.transaction() as session:
        with pytest.raises(TypeError, match="UserChanged"):
            publish(session, EventType.USER_CREATED, data, subject="u")


async def test_the_service_cannot_change_a_user_without_an_event(service: Service) -> None:
    """The triggers of `event_triggers.py`, which every test database has, notice a forgotten event."""
    person = await service.register()
    with pytest.raises(DBAPIError, match=r"no event idp\.user"):
        await _write(service.app.core.database, "UPDATE idp.users SET name = 'x' WHERE id = :id", person.id)
    await _write(service.app.core.database, "UPDATE idp.users SET password_version = 5 WHERE id = :id", person.id)


async def _write(database: Database, statement: str, user_id: str) -> None:
    async with database.transaction() as session:
        await session.execute(text(statement), {"id": user_id})


async def test_every_type_is_published_and_fits_its_schema_without_a_secret(service: Service) -> None:
    """S1-05 S0-44: one walk through every kind of change; no secret, hash or IP address is in any event."""
    secrets = await _walk(service)
    found = await _all_events(service)
    validators = {type_: jsonschema_rs.validator_for(schema_of(type_)) for type_ in EventType}
    for event in found:
        validators[EventType(event.type)].validate(cloud_event(event))
    assert {event.type for event in found} == set(EventType)
    everything = "\n".join(json.dumps(cloud_event(event)) for event in found)
    assert [secret for secret in secrets if secret in everything] == []
    assert not any(word in everything for word in ("127.0.0.1", "$argon2", "password_hash", "digest", "user_agent"))


async def _all_events(service: Service) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    position: Position = START
    async with service.app.core.database.transaction() as session:
        while page := await read_after(session, position, limit=500):
            found += page
            position = page[-1].position
    return found


async def _walk(service: Service) -> list[str]:
    """Cause every type of event; return secrets that were involved."""
    admin, person = await service.register_admin(), await service.register()
    secrets = [PASSWORD, person.token, person.refresh_token, admin.token]
    secrets += await _keys(service, admin, person)
    await _groups(service, admin, person)
    await _call(service, admin, "PATCH", f"/api/auth/admin/users/{person.id}", plan="PRO", roles=["user", "analyst"])
    async with service.app.core.database.transaction() as session:
        await identities.link(session, person.id, ForeignIdentity("https://issuer.example.com", person.id))
        await identities.unlink_all(session, person.id)
    email = service.new_email()
    link = await sign_up(service, email)
    assert (await verify(service, link)).status_code == 200
    token = await ask_for_reset(service, email)
    assert (await reset(service, token, "another good password")).status_code == 200
    assert (await service.client.post("/auth/logout-all", headers=person.bearer)).status_code == 200
    await _call(service, admin, "DELETE", f"/api/auth/admin/users/{person.id}")
    return [*secrets, link, token]


async def _keys(service: Service, admin: Person, person: Person) -> list[str]:
    key = await _call(service, person, "POST", "/v1/api-keys", name="k", scopes=["read"])
    path = f"/v1/api-keys/{key['key_id']}"
    await _call(service, person, "PATCH", path, name="renamed")
    rotated = await _call(service, person, "POST", f"{path}/rotate")
    await _call(service, person, "DELETE", path)
    name = service.new_email()
    token = await _call(service, admin, "POST", "/auth/tokens", name=name, scopes=["read"])
    await _call(service, admin, "POST", f"/auth/tokens/{token['token_id']}/extend", extend_days=3)
    await _call(service, admin, "POST", f"/auth/tokens/{token['token_id']}/revoke")
    return [key["secret"], rotated["secret"], token["token"]]


async def _groups(service: Service, admin: Person, person: Person) -> None:
    name = service.new_email()
    team = await _call(service, admin, "POST", "/teams", name=name)
    await _call(service, admin, "PATCH", f"/teams/{team['id']}", name=f"{name}!")
    member = f"/teams/{team['id']}/members/{person.id}"
    await _call(service, admin, "PUT", member)
    await _call(service, admin, "PUT", member, role="admin")
    await _call(service, admin, "DELETE", member)
    key = name.partition("@")[0]
    domain = await _call(service, admin, "POST", "/domains", key=key, name="Domain")
    await _call(service, admin, "PATCH", f"/domains/{domain['id']}", name="Renamed")
    await _call(service, admin, "PUT", f"/domains/{domain['id']}/users/{person.id}")
    await _call(service, admin, "DELETE", f"/domains/{domain['id']}/users/{person.id}")


async def _call(service: Service, caller: Person, method: str, path: str, **body: Any) -> Any:
    sent = body if body or method in {"POST", "PUT"} else None
    answer = await service.client.request(method, path, json=sent, headers=caller.bearer)
    assert answer.status_code in {200, 201}, (method, path, answer.text)
    return answer.json()


@pytest.mark.parametrize(
    "cursor", ["", "1", "1-", "-1", "1-2-3", "a-b", "\u0661-\u0662", "1-" + "9" * 40, f"{2**63}-1"]
)
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(cursor)


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert Position.parse(str(Position(12, 345))) == Position(12, 345)
