"""The mailbox of `idp dev`: shows every mail; production does not have it."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from factories import Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.mail.messages import Mail, ResetPassword, VerifyEmail, Welcome
from idp.principal.guards import policies
from idp.settings import load
from idp.settings_safety import refuse_unsafe
from mail.mail_support import PostOffice, until

MAILBOX = "/dev/mailbox"
JSON = {"Accept": "application/json"}
TOKEN = "5ec7e7" * 8
VERIFY = VerifyEmail(name="Ada <b>Lovelace</b>", token=TOKEN, hours=24)


@pytest.fixture(scope="module")
async def dev(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("mailbox")) as service:
        yield service


async def post(service: Service, mail: Mail, *, to: str) -> None:
    async with service.app.core.database.transaction() as session:
        service.app.core.mailer.post(session, mail, to=to)


async def listed(service: Service) -> list[dict[str, Any]]:
    answer = await service.client.get(MAILBOX, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


async def test_a_program_reads_the_newest_mail_first(dev: Service) -> None:
    """For tests of applications: the link, immediately after the response."""
    await post(dev, Welcome(name="Ada"), to="first@example.com")
    await post(dev, VERIFY, to="second@example.com")
    newest, older = (await listed(dev))[:2]
    assert set(newest) == {"id", "to", "subject", "text", "html", "links"}
    assert (newest["to"], newest["subject"]) == ("second@example.com", "Confirm your e-mail address")
    assert newest["links"] == [f"{dev.base_url}/verify-email?token={TOKEN}"]
    assert newest["links"][0] in newest["text"]
    assert newest["html"].startswith("<!doctype html>")
    assert older["to"] == "first@example.com"


async def test_a_person_reads_a_mail_as_html_and_as_text(dev: Service) -> None:
    await post(dev, VERIFY, to="ada@example.com")
    mail = (await listed(dev))[0]
    page = await dev.client.get(MAILBOX, headers={"Accept": "text/html,*/*;q=0.8"})
    assert f'href="{MAILBOX}/{mail["id"]}"' in page.text
    read = await dev.client.get(f"{MAILBOX}/{mail['id']}")
    assert (
        f'<iframe src="{MAILBOX}/{mail["id"]}/body" sandbox="allow-popups allow-popups-to-escape-sandbox"' in read.text
    )
    assert f'<a href="{mail["links"][0]}" target="_blank" rel="noopener">' in read.text
    as_text = await dev.client.get(f"{MAILBOX}/{mail['id']}?view=text")
    assert "<iframe" not in as_text.text
    assert "Please confirm that ada@example.com is your address" in as_text.text
    for answer in (page, read, as_text):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert "<b>Lovelace" not in answer.text
    assets = re.findall(r'(?:href|src)="(/[^"]+\.(?:css|svg))"', read.text)
    assert len(assets) >= 3
    for path in assets:
        assert (await dev.client.get(path)).status_code == 200, path


async def test_the_frame_runs_nothing_and_belongs_to_no_origin(dev: Service) -> None:
    """SEC-43: the mail's HTML is opened in a sandbox, framed by us or not."""
    await post(dev, VERIFY, to="ada@example.com")
    mail = (await listed(dev))[0]
    body = await dev.client.get(f"{MAILBOX}/{mail['id']}/body")
    policy = body.headers["Content-Security-Policy"]
    assert "sandbox allow-popups allow-popups-to-escape-sandbox" in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy
    assert body.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert '<base target="_blank">' in body.text


async def test_a_mail_that_is_not_there_is_404(dev: Service) -> None:
    for path in (f"/{uuid4()}", f"/{uuid4()}/body", "/nothing"):
        assert (await dev.client.get(MAILBOX + path)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Host": "auth"},
    ],
    ids=str,
)
async def test_a_page_that_points_its_name_here_reads_no_mail(dev: Service, headers: dict[str, str]) -> None:
    """DNS rebinding: docs/decisions/0010."""
    await post(dev, VERIFY, to="ada@example.com")
    mail = (await listed(dev))[0]
    for path in ("", f"/{mail['id']}", f"/{mail['id']}/body"):
        answer = await dev.client.get(MAILBOX + path, headers={**headers, **JSON})
        assert answer.status_code == 404
        assert TOKEN not in answer.text


async def test_in_development_a_mail_is_sealed_too_and_is_never_pending(dev: Service) -> None:
    """SEC-10."""
    await post(dev, ResetPassword(name=None, token=TOKEN, minutes=15), to="sealed@example.com")

    async def settled() -> bool:
        return not await dev.sql("SELECT 1 FROM idp.mail_outbox WHERE sent_at IS NULL")

    await until(settled)
    rows = await dev.sql("SELECT * FROM idp.mail_outbox")
    assert all(row["sealed_message"] for row in rows)
    assert TOKEN not in str([dict(row) for row in rows])


async def test_with_a_server_development_sends_and_keeps(postgres: EmbeddedPostgres) -> None:
    """S4-29: `as well as`; a mail that fails stays to be read, with the reason."""
    office = PostOffice()
    office.answers["gone@example.com"] = "550 No such user"
    async with office.open():
        environ = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(office.port), "SMTP_USE_TLS": "false"}
        environ |= {"FROM_EMAIL": "Acme <hi@acme.example>", "FRONTEND_URL": "https://app.example.com/"}
        async with running(postgres.create_database("mailbox_smtp"), environ=environ) as service:
            await post(service, VERIFY, to="gone@example.com")
            await post(service, VERIFY, to="ada@example.com")
            await until(lambda: office.delivered)
            await until(lambda: service.sql("SELECT 1 FROM idp.mail_outbox WHERE failed_at IS NOT NULL"))
            assert office.recipients == ["ada@example.com"]
            assert office.delivered[0][1]["From"] == "Acme <hi@acme.example>"
            mails = await listed(service)
            assert [mail["to"] for mail in mails] == ["ada@example.com", "gone@example.com"]
            assert mails[0]["links"] == [f"https://app.example.com/verify-email?token={TOKEN}"]
            assert "failed: 550 No such user" in (await service.client.get(MAILBOX)).text


# --- production ------------------------------------------------------------------------------------------------------


async def test_production_has_no_mailbox(production: Service) -> None:
    """Rule 7."""
    assert [line.path for line in policies(production.app) if line.path.startswith("/dev")] == []
    assert (await production.client.get(MAILBOX, headers=JSON)).status_code == 404


def test_production_does_not_even_load_it() -> None:
    """Rule 7: its image has no `idp.dev`."""
    code = (
        "import sys, idp.app, idp.mail.sender\n"
        "assert not [name for name in sys.modules if f'{name}.'.startswith('idp.dev.')], 'idp.dev was imported'\n"
        "assert 'ua_parser' not in sys.modules, 'large, and rarely needed'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"SMTP_HOST": "smtp.example.com"}, "FROM_EMAIL is not set, and SMTP_HOST is set"),
        ({"SMTP_HOST": "smtp.example.com", "FROM_EMAIL": "nobody"}, "FROM_EMAIL is 'nobody', and"),
        ({"SMTP_HOST": "smtp.example.com", "FROM_EMAIL": "a@b.example\nBcc: c@d.example"}, "FROM_EMAIL is 'a@b"),
        ({"SMTP_HOST": "smtp.example.com", "FROM_EMAIL": "a@b.example, c@d.example"}, "FROM_EMAIL is 'a@b"),
        ({"FRONTEND_URL": "app.example.com"}, "FRONTEND_URL is 'app.example.com'"),
        ({"FRONTEND_URL": "javascript:alert(1)"}, "FRONTEND_URL is 'javascript:"),
        ({"FRONTEND_URL": "https://app.example.com/?next="}, "FRONTEND_URL is 'https:"),
        ({"SMTP_HOST": "s", "FROM_EMAIL": "Acme <no-reply@acme.example>", "FRONTEND_URL": "https://a.example/x"}, None),
        ({"SMTP_HOST": "s", "FROM_EMAIL": "no-reply@acme.example"}, None),
    ],
)
def test_production_refuses_settings_that_send_no_mail(environ: dict[str, str], problem: str | None) -> None:
    """S4-29."""
    safe = {"DATABASE_URL": "postgresql://db/idp", "IDP_SECRET_KEY": root_secret()}
    settings = load("production", environ=safe | environ).settings
    if problem is None:
        refuse_unsafe(settings)
        return
    with pytest.raises(Exception, match=re.escape(problem)) as refused:
        refuse_unsafe(settings)
    assert len(refused.value.problems) == 1
