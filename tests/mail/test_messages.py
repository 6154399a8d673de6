"""The texts of mails, and protection from injection."""

import re
from datetime import UTC, datetime
from email import message_from_bytes
from html import unescape
from pathlib import Path
from uuid import uuid4

import pytest

import idp.mail
from idp.mail import messages
from idp.mail.addresses import parse_address, service_name
from idp.mail.messages import (
    MAILS,
    AccountKept,
    ActedForSupport,
    AlreadyRegistered,
    ConfirmNewEmail,
    DeletionScheduled,
    EmailChanged,
    EmailChangeRequested,
    Invitation,
    LinkAccount,
    Mail,
    NewDevice,
    PasswordChanged,
    RecoveryCodeUsed,
    ResetPassword,
    SecondFactorChange,
    SignInLocked,
    VerifyEmail,
    Welcome,
)
from idp.mail.rendering import RenderedMail, render
from idp.mail.smtp import compose
from idp.mail.user_text import MAX_NAME_LENGTH, device_name, person_name

BASE = "https://id.example.com"
TOKEN = "5ec7e7+/=&" * 4
AT = datetime(2026, 11, 22, 21, 4, tzinfo=UTC)


def examples(name: str | None = "Ada Lovelace") -> list[Mail]:
    """Return one of each."""
    return [
        VerifyEmail(name=name, token=TOKEN, hours=24),
        AlreadyRegistered(name=name),
        ResetPassword(name=name, token=TOKEN, minutes=15),
        PasswordChanged(name=name, at=AT, device="Firefox on Linux", ip_address="192.0.2.7"),
        ConfirmNewEmail(name=name, token=TOKEN, new_email="new@example.com", hours=1),
        EmailChangeRequested(name=name, new_email="new@example.com"),
        EmailChanged(name=name, new_email="new@example.com"),
        NewDevice(name=name, at=AT, device=None, ip_address=None),
        SignInLocked(name=name, failures=100),
        SecondFactorChange(name=name, what="totp_added", at=AT, device="Firefox on Linux", ip_address="192.0.2.7"),
        RecoveryCodeUsed(name=name, at=AT, left=9),
        Invitation(name=name, token=TOKEN, invited_by=name, days=7),
        Welcome(name=name),
        LinkAccount(name=name, token=TOKEN, provider="Example Corp", hours=1),
        DeletionScheduled(name=name, at=AT),
        AccountKept(name=name),
        ActedForSupport(name=name, acted_by=name, reason="Ticket 7: no mail arrives", at=AT, minutes=30),
    ]


def shown(mail: Mail, **changes: str) -> RenderedMail:
    return render(mail, **{"to": "ada@example.com", "base_url": BASE, "service": "Acme"} | changes)


each = pytest.mark.parametrize("mail", examples(), ids=lambda mail: mail.template)


def test_there_is_an_example_of_every_mail_and_a_template_of_each() -> None:
    kinds = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, Mail) and kind is not Mail
    }
    assert {type(mail) for mail in examples()} == set(MAILS) == kinds
    files = {file.name for file in (Path(idp.mail.__file__).parent / "templates").iterdir()}
    assert files == {f"{m.template}.{k}" for m in MAILS for k in ("html", "txt")} | {
        "base.html",
        "base.txt",
        "parts.html",
    }


@each
def test_a_mail_names_its_reason_and_says_that_it_can_be_ignored(mail: Mail) -> None:
    for body in (shown(mail).text, unescape(shown(mail).html)):
        assert "You get this mail because" in body
        assert "ada@example.com" in body
        assert "nothing to do" in body or "ignore this mail" in body or mail.template == "welcome"
    assert shown(mail).text.startswith("Hello Ada Lovelace,")


@each
def test_a_link_is_on_the_page_of_c31_and_stands_in_the_text_too(mail: Mail) -> None:
    """C-31 SEC-10: made of the settings' address."""
    rendered = shown(mail)
    paths = {"/verify-email", "/reset-password", "/change-email", "/link-account"}
    paths |= {"/account", "/account/keep", "/account/activity"}
    assert len(rendered.links) == (0 if mail.template in {"email_changed", "welcome"} else 1)
    for link in rendered.links:
        page, _, query = link.removeprefix(BASE).partition("?")
        assert page in paths
        assert link in rendered.text
        assert unescape(rendered.html).count(link) >= 2, "to press and to read"
        assert bool(query) == hasattr(mail, "token")
        if query:
            assert query == "token=" + "5ec7e7%2B%2F%3D%26" * 4


def test_links_to_the_account_lead_to_this_service_even_with_a_front_end() -> None:
    """The front end has the pages of C-31, and no others."""
    for mail, own in ((AccountKept(name=None), True), (AlreadyRegistered(name=None), False)):
        (link,) = render(mail, to="a@b.example", base_url="https://app.example", service="A", own_url=BASE).links
        assert link.startswith(BASE) == own


@each
def test_mails_link_to_the_configured_application(mail: Mail) -> None:
    """FRONTEND_URL: this service has no page of its own to sign in on."""
    home = "https://app.example.com"
    rendered = render(mail, to="ada@example.com", base_url=BASE, service="Acme", home=home)
    leads = mail.template in {"welcome", "already_registered"}
    assert (home in rendered.links, f'href="{home}"' in rendered.html, f"\n{home}\n" in rendered.text) == (leads,) * 3


@each
def test_nothing_is_loaded_and_nothing_runs(mail: Mail) -> None:
    """SEC-47: no tracking images."""
    html = shown(mail).html
    assert not re.search(r"<(img|script|link|iframe|object|form|video|audio|svg)\b", html, re.IGNORECASE)
    assert not re.search(r"url\(|@import|\bsrc=|\bbackground=", html, re.IGNORECASE)
    assert set(re.findall(r'href="(https?://[^/"]+)', html)) <= {BASE}


@each
def test_a_mail_has_what_programs_need_to_show_it_well(mail: Mail) -> None:
    html = shown(mail).html
    for needed in ('<html lang="en" dir="ltr"', 'name="color-scheme" content="light dark"', "max-width:600px"):
        assert needed in html
    assert "prefers-color-scheme: dark" in html
    assert max(len(line) for line in shown(mail).text.splitlines()) < 998  # RFC 5322 section 2.1.1
    assert "{{" not in html + shown(mail).text
    assert "None" not in html + shown(mail).text


def test_a_token_is_never_shown_by_repr() -> None:
    """SEC-74."""
    for mail in examples():
        assert "5ec7e7" not in f"{mail!r} {mail} {list(mail.__rich_repr__())} {shown(mail)!r}"
    assert (
        repr(ResetPassword(name="Ada", token="x", minutes=15))
        == "ResetPassword(name='Ada', token='hidden', minutes=15)"
    )


# --- what people typed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mail", examples('<script>alert(1)</script> & "Zoë"'), ids=lambda mail: mail.template)
def test_markup_in_a_name_is_text(mail: Mail) -> None:
    """SEC-46."""
    assert "<script" not in shown(mail).html


@pytest.mark.parametrize(
    "typed",
    [
        "You won! Visit evil.example",
        "http://evil.example/x",
        "www.evil",
        "ada@evil.example",
        "evil。example".replace("。", "."),
        r"\\evil\share",
        "\u202egro.elpmaxe",
        " \t\r\n ",
        "\u200b",
        "",
        None,
    ],
)
def test_a_name_that_reads_like_a_link_is_left_out(typed: str | None) -> None:
    """Whoever registers a stranger's address chooses the name in that mail."""
    assert person_name(typed) is None
    assert shown(VerifyEmail(name=typed, token="t", hours=1)).text.startswith("Hello,\n")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Ada\r\nBcc: everybody  ", "Ada Bcc: everybody"),
        ("J. R. R. Tolkien", "J. R. R. Tolkien"),
        ("O'Connor-Šķēle Jr.", "O'Connor-Šķēle Jr."),
        ("می‌خواهم", "می‌خواهم"),
        ("\u202eAda\u2066\x00", "Ada"),
        ("👩‍🔬 Marie", "👩‍🔬 Marie"),
        ("山田太郎", "山田太郎"),
    ],
)
def test_names_of_all_scripts_are_kept(typed: str, kept: str) -> None:
    assert person_name(typed) == kept


def test_a_very_long_name_is_cut() -> None:
    cut = person_name("Wolfeschlegelsteinhausenbergerdorff " * 100)
    assert cut is not None
    assert len(cut) <= MAX_NAME_LENGTH
    assert cut.endswith("…")


def test_a_name_written_from_right_to_left_does_not_turn_the_sentence() -> None:
    rendered = shown(Welcome(name="محمد"))
    assert "<bdi>محمد</bdi>" in rendered.html
    assert "Hello \u2068محمد\u2069," in rendered.text


@each
def test_a_message_has_exactly_the_headers_that_we_wrote(mail: Mail) -> None:
    """SEC-46: whatever an installation is called and whatever people typed."""
    rendered = shown(mail, service="Acme\r\nBcc: everybody@example.com")
    parts = {"sender": parse_address("a@b.example"), "to": parse_address("ada@example.com")}
    raw = compose(rendered, mail_id=uuid4(), written_at=AT, **parts).as_bytes()
    assert set(message_from_bytes(raw).keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert raw.isascii()


def test_a_sealed_subject_with_a_line_break_is_refused() -> None:
    mail = RenderedMail(to="a@b.example", subject="x\r\nBcc: everybody@example.com", text="", html="", links=())
    to = parse_address("a@b.example")
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        compose(mail, sender=to, to=to, mail_id=uuid4(), written_at=AT)


# --- devices ---------------------------------------------------------------------------------------------------------

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)


@pytest.mark.parametrize(
    ("user_agent", "info", "name"),
    [
        (FIREFOX, None, "Firefox on Linux"),
        (IPHONE, {"name": "ignored"}, "Mobile Safari on iOS"),
        ("curl/8.5.0", None, "curl"),
        ("acme-app/1", {"device_name": "Ada's phone"}, "Ada's phone"),
        (None, "Ada's phone", "Ada's phone"),
        (None, {"model": "Pixel 8", "name": ""}, "Pixel 8"),
        (None, "call us\r\nat http://evil.example now", "call us at http evil example now"),
        ("x" * 100_000, "y" * 1000, "y" * 40),
        (None, {"name": 5}, None),
        (None, ["what"], None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_device_has_a_name_that_people_know(user_agent: str | None, info: object, name: str | None) -> None:
    """C-32: of the header, else of what the client says; never a link."""
    assert device_name(user_agent, info) == name


@pytest.mark.parametrize(
    ("from_email", "name"),
    [
        ("Acme ID <no-reply@acme.example>", "Acme ID"),
        ("no-reply@acme.example", "idp"),
        (None, "idp"),
        ("rubbish", "idp"),
    ],
)
def test_an_installation_is_called_what_its_sender_is_called(from_email: str | None, name: str) -> None:
    assert service_name(from_email, "idp") == name


def test_mails_carry_the_name_of_the_pages_if_the_sender_has_none() -> None:
    assert service_name("no-reply@example.com", "Acme") == "Acme"
    assert service_name(None, "Acme") == "Acme"
    assert service_name("Example <no-reply@example.com>", "Acme") == "Example"
