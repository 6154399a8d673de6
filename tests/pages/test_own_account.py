"""The pages of one's own account, without JavaScript."""

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from factories import PASSWORD, Person, Service, principal, running, user
from flows.mail_support import mails_about
from idp.accounts.delete_account import DeleteAccount
from idp.accounts.due_deletions import DueDeletions
from idp.audit.record import SYSTEM
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import TokenRevoked
from idp.pages.languages import LANGUAGES
from idp.provider.consents import grant
from pages.visitor import Visitor, form_of, heading, new_client

PAGES = (
    "/account",
    "/account/profile",
    "/account/password",
    "/account/email",
    "/account/sessions",
    "/account/keys",
    "/account/keys/new",
    "/account/identities",
    "/account/apps",
    "/account/activity",
    "/account/data",
    "/account/delete",
)


@pytest.fixture
async def own(service: Service) -> AsyncIterator[tuple[Visitor, Person]]:
    """A browser that is signed in, and its person."""
    async with Visitor(service) as visitor:
        person = await service.register(name="Pat Person")
        await visitor.sign_in(person)
        yield visitor, person


def text_of(page: httpx2.Response) -> str:
    """Return the text of a page, without tags, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def says(page: httpx2.Response) -> str:
    """Return what a page says was done."""
    found = re.search(r'<p class="done" role="status">(.*?)</p>', page.text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


async def test_every_page_opens_for_its_user_and_leads_others_to_the_sign_in(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    visitor, _ = own
    async with Visitor(service) as stranger:
        for path in PAGES:
            page = await visitor.open(path)
            assert (page.status_code, page.url.path) == (200, path)
            assert page.headers["Cache-Control"] == "no-store"
            assert (await stranger.open(path)).url.path == "/login", path


async def test_name_and_avatar_are_saved_and_bad_ones_are_shown_again(own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    page = await visitor.open("/account/profile")
    bad = await visitor.submit(page, "/account/profile", name="Pat", avatar_url="javascript:alert(1)")
    assert (bad.status_code, form_of(bad, "/account/profile").fields["name"]) == (422, "Pat")
    nameless = await visitor.submit(page, "/account/profile", name="  ", avatar_url="")
    assert nameless.status_code == 422
    saved = await visitor.submit(page, "/account/profile", name="Pat Q", avatar_url="https://i.example/p.png")
    assert says(saved) == "Saved."
    me = (await visitor.client.get("/auth/me")).json()
    assert (me["id"], me["name"], me["avatar_url"]) == (person.id, "Pat Q", "https://i.example/p.png")
    assert "https://i.example/p.png" not in re.sub(r"<input[^>]*>", "", saved.text), "nothing of other sites is loaded"


async def test_the_password_changes_with_the_current_one_and_other_sessions_end(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    """SEC-6: this session continues."""
    visitor, person = own
    page = await visitor.open("/account/password")
    wrong = await visitor.submit(page, "/account/password", current_password="not it", new_password="another long one")
    assert (wrong.status_code, "That is not your current password." in wrong.text) == (422, True)
    weak = await visitor.submit(page, "/account/password", current_password=PASSWORD, new_password="short")
    assert weak.status_code == 422
    changed = await visitor.submit(
        page, "/account/password", current_password=PASSWORD, new_password="a quite different one"
    )
    assert says(changed).startswith("Your password is changed.")
    assert (await service.me(person.bearer)).status_code == 401
    assert (await visitor.open("/account")).url.path == "/account"


async def test_who_has_no_password_gets_a_link(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    await service.sql("UPDATE idp.users SET password_hash = NULL WHERE id = $1", person.id)
    page = await visitor.open("/account/password")
    assert heading(page) == "Choose a password"
    assert says(await visitor.submit(page, "/account/password/link")) == "A mail is on its way. Open the link in it."
    assert len(await mails_about(service, person.email, "Choose a new password")) == 1


async def test_another_address_is_confirmed_by_a_mail_to_it(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    page, new = await visitor.open("/account/email"), service.new_email()
    bad = await visitor.submit(page, "/account/email", new_email="no address", current_password=PASSWORD)
    assert (bad.status_code, form_of(bad, "/account/email").fields["new_email"]) == (422, "no address")
    wrong = await visitor.submit(page, "/account/email", new_email=new, current_password="no")
    assert wrong.status_code == 422
    asked = await visitor.submit(page, "/account/email", new_email=new, current_password=PASSWORD)
    assert says(asked).startswith("A link is on its way to the new address.")
    assert len(await mails_about(service, new, "Confirm your new e-mail address")) == 1
    assert person.email in asked.text


async def test_sessions_are_named_and_end_one_by_one_or_all_but_this(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    visitor, person = own
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    async with Visitor(service, **{"User-Agent": agent}) as other:
        await other.sign_in(person)
        page = await visitor.open("/account/sessions")
        assert "Firefox on Linux" in text_of(page)
        assert "this session" in text_of(page)
        assert (await service.me(person.bearer)).status_code == 200
        ended = await visitor.submit(page, "/account/sessions/end", session_id=person.session_id)
        assert says(ended) == "The session was ended."
        assert (await service.me(person.bearer)).status_code == 401
        again = await visitor.submit(page, "/account/sessions/end", session_id=person.session_id)
        assert says(again) == "That session had already ended."
        assert says(await visitor.submit(page, "/account/sessions/end-others")) == "All other sessions were ended."
        assert (await other.open("/account")).url.path == "/login"
    assert (await visitor.open("/account")).url.path == "/account"
    (left,) = (await visitor.client.get("/api/auth/sessions")).json()["sessions"]
    page = await visitor.open("/account/sessions")
    out = await visitor.submit(page, "/account/sessions/end", session_id=left["session_id"])
    assert out.url.path == "/login"


async def test_nobody_ends_the_session_of_another(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, _ = own
    other = await service.register()
    form = form_of(await visitor.open("/account/sessions"), "/account/sessions/end")
    for session_id in (other.session_id, "no uuid", ""):
        data = form.fields | {"session_id": session_id}
        answer = await visitor.client.post(
            "/account/sessions/end", data=data, headers={"Origin": visitor.service.base_url}
        )
        assert answer.headers["Location"] == "/account/sessions?done=session_over"
    assert (await service.me(other.bearer)).status_code == 200


async def test_a_key_is_created_shown_once_replaced_and_revoked(service: Service, own: tuple[Visitor, Person]) -> None:
    """SEC-17: a reload of the form shows the same key, and creates no second one."""
    visitor, _ = own
    page = await visitor.open("/account/keys/new")
    bad = await visitor.submit(page, "/account/keys/new", name="", scopes="read")
    assert (bad.status_code, "Please enter a name" in bad.text) == (422, True)
    quoted = await visitor.submit(page, "/account/keys/new", name="laptop", scopes='"')
    assert (quoted.status_code, "names of permissions" in quoted.text) == (422, True)
    reserved = await visitor.submit(page, "/account/keys/new", name="laptop", scopes="idp:manage")
    assert (reserved.status_code, "You may not give" in reserved.text) == (422, True)
    values = {"name": "laptop", "scopes": "read, write", "days": "30"}
    secret = secret_in(await visitor.submit(page, "/account/keys/new", **values))
    assert secret_in(await visitor.submit(page, "/account/keys/new", **values)) == secret
    verdict = await service.validate(secret)
    assert (verdict["valid"], verdict["scopes"]) == (True, ["read", "write"])
    listed = await visitor.open("/account/keys")
    assert secret not in listed.text
    key_id = form_of(listed, "/account/keys/revoke").fields["key_id"]
    rotated = secret_in(await visitor.submit(listed, "/account/keys/rotate", key_id=key_id))
    assert ((await service.validate(secret))["valid"], (await service.validate(rotated))["valid"]) == (False, True)
    assert says(await visitor.submit(listed, "/account/keys/revoke", key_id=key_id)) == "The key was revoked."
    assert not (await service.validate(rotated))["valid"]
    assert "You have no keys." in text_of(await visitor.open("/account/keys"))
    gone = await visitor.submit(listed, "/account/keys/rotate", key_id=key_id)
    assert says(gone) == "That key is no longer there."


def secret_in(page: httpx2.Response) -> str:
    (secret,) = re.findall(r'<code class="secret">(.*?)</code>', page.text)
    return str(secret)


async def test_an_app_loses_its_access(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    client_id = await new_client(service, name="Notes & more")
    async with service.app.core.database.transaction() as session:
        await grant(session, person.id, client_id, ["openid", "email", "tasks:read"])
    page = await visitor.open("/account/apps")
    assert "Notes & more" in text_of(page)
    assert "read your e-mail address" in text_of(page)
    assert "use the permission tasks:read" in text_of(page)
    done = await visitor.submit(page, "/account/apps/withdraw", client_id=client_id)
    assert says(done) == "The app no longer has access to your account."
    assert "No app has access" in text_of(done)
    await visitor.submit(page, "/account/apps/withdraw", client_id=client_id)  # in another tab


async def test_the_only_way_to_sign_in_is_not_disconnected(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    for subject in ("one", "two"):
        await service.sql(
            "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
            " VALUES (gen_random_uuid(), $1, 'https://corp.example', $2, now())",
            person.id,
            f"{subject}-{person.id}",
        )
    await service.sql("UPDATE idp.users SET password_hash = NULL WHERE id = $1", person.id)
    page = await visitor.open("/account/identities")
    first = form_of(page, "/account/identities/unlink").fields["identity_id"]
    ids = re.findall(r'name="identity_id" value="([^"]*)"', page.text)
    assert says(await visitor.submit(page, "/account/identities/unlink", identity_id=first)).startswith(
        "The sign-in is"
    )
    (other,) = set(ids) - {first}
    refused = await visitor.submit(page, "/account/identities/unlink", identity_id=other)
    assert says(refused).startswith("Nothing was changed")
    assert "the only way in" in text_of(refused)


async def test_activity_is_told_in_words_page_by_page(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    admin = await service.register_admin()
    await service.client.patch(
        f"/api/auth/admin/users/{person.id}", json={"name": "Pat Other"}, headers={**admin.bearer}
    )
    for name in range(31):
        body = {"name": f"key {name}", "scopes": ["read"]}
        made = await service.client.post("/v1/api-keys", json=body, headers=person.bearer)
        await service.client.delete(f"/v1/api-keys/{made.json()['key_id']}", headers=person.bearer)
    texts, page = [], await visitor.open("/account/activity")
    while True:
        texts.append(text_of(page))
        older = re.search(r'href="(/account/activity\?before=[^"]*)"', page.text)
        if older is None:
            break
        page = await visitor.open(html.unescape(older[1]))
    assert len(texts) == 3
    assert "An API key was revoked: key 30" in texts[0]
    assert "You signed in" in "".join(texts)
    assert "Your profile was changed" in texts[0] + texts[2]
    assert "by an administrator" in "".join(texts)
    assert (await visitor.open("/account/activity", before="no cursor")).status_code == 200


def test_every_action_about_a_user_has_a_text() -> None:
    """The actions are written in the code as `user.…`, `consent.…`, `api_key.…`."""
    source = "".join(path.read_text() for path in Path("src/idp").rglob("*.py"))
    actions = set(re.findall(r'action="((?:user|session|consent|support|authorization)\.[a-z_]+)"', source))
    assert len(actions) > 20
    told = {key.removeprefix("happened.") for key in LANGUAGES["en"].texts if key.startswith("happened.")}
    assert {action.replace(".", "_") for action in actions} - told - {"user_deleted"} == set()


async def test_the_export_is_downloaded(own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    answer = await visitor.client.get("/account/data/export")
    assert (answer.status_code, answer.json()["profile"]["id"]) == (200, person.id)
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_deletion_signs_out_everywhere_and_can_be_withdrawn_until_its_day(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    visitor, person = own
    key = (await service.client.post("/v1/api-keys", json={"name": "k", "scopes": []}, headers=person.bearer)).json()
    page = await visitor.open("/account/delete")
    wrong = await visitor.submit(page, "/account/delete", confirm="someone@else.example")
    assert (wrong.status_code, "That is something else." in wrong.text) == (422, True)
    gone = await visitor.submit(page, "/account/delete", confirm=f" {person.email.upper()} ")
    assert heading(gone) == "Your account will be deleted"
    assert (await service.me(person.bearer)).status_code == 401
    assert not (await service.validate(key["secret"]))["valid"]
    assert (await visitor.open("/account")).url.path == "/login"
    assert len(await mails_about(service, person.email, "Your account will be deleted")) == 1
    asked = await visitor.send(await visitor.open("/login", other="1", return_to="/account/apps"),
                               email=person.email, password=PASSWORD)  # fmt: skip
    assert (asked.url.path, heading(asked)) == ("/account/keep", "Your account will be deleted")
    assert "Your account will be deleted" in text_of(await visitor.open("/account"))
    assert "Keep my account" in text_of(await visitor.open("/account/data"))
    kept = await visitor.submit(asked, "/account/keep")
    assert kept.url.path == "/account/apps"
    assert len(await mails_about(service, person.email, "Your account stays")) == 1
    await visitor.open("/account/keep")
    assert await delete_after(service, person) is None
    history = text_of(await visitor.open("/account/activity"))
    assert "The deletion of your account was requested" in history
    assert "your account stays" in history


async def delete_after(service: Service, person: Person) -> object:
    return (await service.sql("SELECT delete_after FROM idp.users WHERE id = $1", person.id))[0]["delete_after"]


async def test_due_accounts_are_deleted_and_others_stay(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    other = await service.register()
    await visitor.submit(await visitor.open("/account/delete"), "/account/delete", confirm=person.email)
    due = "UPDATE idp.users SET delete_after = now() + $2 WHERE id = $1"
    await service.sql(due, person.id, timedelta(seconds=-1))
    await service.sql(due, other.id, timedelta(hours=1))
    deletions = DueDeletions(service.app.core.database)
    assert await deletions.delete_due() >= 1
    rows = await service.sql(
        "SELECT id FROM idp.users WHERE id = ANY($1) AND deleted_at IS NULL", [person.id, other.id]
    )
    assert [row["id"] for row in rows] == [other.id]
    (record,) = await service.sql(
        "SELECT actor FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.deleted'", person.id
    )
    assert record["actor"] == "system"
    events = await service.sql("SELECT type FROM idp.outbox WHERE subject = $1", person.id)
    assert "idp.user.deleted" in {row["type"] for row in events}
    assert (
        await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    ).status_code == 401


async def test_a_form_of_another_session_or_site_changes_nothing(service: Service, own: tuple[Visitor, Person]) -> None:
    """SEC-44: the token is that of the session."""
    visitor, person = own
    page = await visitor.open("/account/profile")
    fields = form_of(page, "/account/profile").fields | {"name": "Mallory"}
    foreign = await visitor.client.post("/account/profile", data=fields, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    forged = fields | {"csrf_token": "x"}
    shown = await visitor.client.post("/account/profile", data=forged, headers={"Origin": service.base_url})
    assert (shown.status_code, shown.headers["Location"]) == (303, "/account/profile")
    assert (await visitor.client.get("/auth/me")).json()["name"] == "Pat Person"
    assert UUID(person.session_id)


async def test_old_sign_ins_prove_themselves_again_before_what_c33_names(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    """C-33: the pages lead to a sign-in and back."""
    visitor, person = own
    await service.sql(
        "UPDATE idp.user_sessions SET auth_time = now() - interval '1 hour' WHERE user_id = $1", person.id
    )
    for path in ("/account/password", "/account/email", "/account/delete"):
        shown = await visitor.client.get(path)
        assert (shown.status_code, "fresh=1" in shown.headers["Location"]) == (303, True)
    assert (await visitor.open("/account/sessions")).status_code == 200
    again = await visitor.send(await visitor.open("/account/delete"), email=person.email, password=PASSWORD)
    assert again.url.path == "/account/delete"


async def test_a_session_that_ended_schedules_and_withdraws_nothing(service: Service) -> None:
    """The pages' own changes check the caller again inside their transactions."""
    person = await service.register()
    core = service.app.core
    caller = principal(user(id=person.id), session_id=person.session_id)
    deletion = DeleteAccount(core.account_services())
    await service.sql(
        "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE id = $1::text::uuid",
        person.session_id,
    )
    for change in (deletion.schedule, deletion.keep, deletion.now):
        with pytest.raises(TokenRevoked):
            await change(caller, SYSTEM)


async def test_the_last_administrator_stays_and_is_told_why(postgres: EmbeddedPostgres) -> None:
    """Also if the account became the last one after the deletion was requested: it is postponed."""
    environ = {"IDP_ACCOUNTS__DELETION_GRACE_DAYS": "0"}
    async with running(postgres.create_database("last_admin"), environ=environ) as alone, Visitor(alone) as visitor:
        await alone.sql("DELETE FROM idp.user_roles WHERE role = 'admin'")
        admin = await alone.register_admin()
        await visitor.sign_in(admin)
        page = await visitor.open("/account/delete")
        refused = await visitor.submit(page, "/account/delete", confirm=admin.email)
        assert (refused.status_code, "you are the last administrator" in refused.text) == (409, True)
        await alone.sql("UPDATE idp.users SET delete_after = now() WHERE id = $1", admin.id)
        assert await DueDeletions(alone.app.core.database).delete_due() == 0
        (row,) = await alone.sql("SELECT delete_after > now() AS later FROM idp.users WHERE id = $1", admin.id)
        assert row["later"]
        person = await alone.register()
        async with Visitor(alone) as other:
            await other.sign_in(person)
            gone = await other.submit(await other.open("/account/delete"), "/account/delete", confirm=person.email)
            assert heading(gone) == "Your account is deleted"
        (row,) = await alone.sql("SELECT deleted_at FROM idp.users WHERE id = $1", person.id)
        assert row["deleted_at"] is not None
