"""Sending mails over sockets to a real SMTP server (S4-29)."""

import asyncio
import ipaddress
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import asyncpg
import pytest
import structlog
import time_machine
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from idp.mail import sender, smtp
from idp.mail.messages import ResetPassword, VerifyEmail, Welcome
from idp.mail.sender import GIVE_UP_AFTER, LEASE, RETRY_SECONDS, delay
from idp.ops.metrics import REGISTRY
from idp.settings import Secret
from idp.signing.sealing import Sealer
from mail.mail_support import Outbox, PostOffice, until

TOKEN = "5ec7e7" * 10
VERIFY = VerifyEmail(name="Ada Lovelace", token=TOKEN, hours=24)
RESET = ResetPassword(name="Ada", token=TOKEN, minutes=15)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("idp_mail_total", {"outcome": outcome}) or 0.0


# --- it arrives ------------------------------------------------------------------------------------------------------


@pytest.mark.alone
async def test_a_mail_arrives_within_a_second_of_the_commit(outbox: Outbox, office: PostOffice) -> None:
    """S4-29 S4-13: with its link as text and as HTML, from whom the settings name."""
    async with outbox.sending(office):
        await asyncio.sleep(0.1)
        await outbox.post(VERIFY, to="ada@example.com")
        began = time.monotonic()
        await until(lambda: office.delivered)
        assert time.monotonic() - began < 1
        await until(lambda: _is_sent(outbox))
    ((recipient, message),) = office.delivered
    row = await outbox.row()
    assert recipient == "ada@example.com"
    assert (message["From"], message["To"]) == ("Acme <no-reply@acme.example>", "ada@example.com")
    assert message["Subject"] == "Confirm your e-mail address"
    assert message["Message-ID"] == f"<{row['id']}@acme.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert abs(parsedate_to_datetime(message["Date"]) - row["created_at"]) < timedelta(seconds=1)
    assert message.get_content_type() == "multipart/alternative"
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert body is not None
        assert f"https://id.example.com/verify-email?token={TOKEN}" in body.get_content()


async def _is_sent(outbox: Outbox) -> bool:
    return (await outbox.row())["sent_at"] is not None


async def test_sent_mails_are_deleted(outbox: Outbox, office: PostOffice) -> None:
    before = counted("sent")
    async with outbox.sending(office):
        await outbox.post(RESET, to="ada@example.com")
        await until(lambda: _is_sent(outbox))
    row = await outbox.row()
    assert (row["sealed_message"], row["failed_at"], row["last_error"], row["attempts"]) == (None, None, None, 1)
    assert counted("sent") == before + 1


async def test_a_mail_at_rest_shows_no_token_and_no_address(outbox: Outbox) -> None:
    """SEC-10 SEC-17: a copy of the table contains no usable link."""
    await outbox.post(RESET, to="ada@example.com")
    shown = str(dict(await outbox.row()))
    assert TOKEN not in shown
    assert "ada@example.com" not in shown
    assert (
        Sealer([Secret("another root secret than that one")]).open(
            (await outbox.row())["sealed_message"], purpose="mail"
        )
        is None
    )


async def test_a_transaction_that_is_rolled_back_sends_nothing(outbox: Outbox, office: PostOffice) -> None:
    """Rule 4: the mail and what it tells of happen together or not at all."""
    async with outbox.sending(office):
        with pytest.raises(RuntimeError, match="changed my mind"):
            await _post_and_change_my_mind(outbox)
        await outbox.post(Welcome(name=None), to="next@example.com")
        await until(lambda: office.delivered)
    assert office.recipients == ["next@example.com"]


async def _post_and_change_my_mind(outbox: Outbox) -> None:
    async with outbox.database.transaction() as session:
        outbox.mailer.post(session, VERIFY, to="ada@example.com")
        await session.flush()
        raise RuntimeError("changed my mind")


async def test_a_decoy_mail_does_not_wake_the_sender(outbox: Outbox) -> None:
    """SEC-9: sending is work too, and whoever asks for something else in this moment would wait for it."""
    async with outbox.database.transaction() as session:
        outbox.mailer.post(session, VERIFY, to="ada@example.com", delayed=True)
    assert not outbox.mailer.posted.is_set()
    await outbox.post(VERIFY, to="ada@example.com")
    assert outbox.mailer.posted.is_set()


async def test_two_senders_send_each_mail_once(outbox: Outbox, office: PostOffice) -> None:
    """Several processes share the outbox."""
    async with outbox.sending(office), outbox.sending(office), outbox.sending(office):
        await asyncio.gather(*(outbox.post(VERIFY, to=f"p{number}@example.com") for number in range(40)))
        await until(lambda: len(office.delivered) >= 40)
        await asyncio.sleep(0.3)
    assert sorted(office.recipients) == sorted(f"p{number}@example.com" for number in range(40))


async def test_a_mail_whose_sender_died_is_sent_by_another_after_its_lease(outbox: Outbox, office: PostOffice) -> None:
    """SEC-77: at least once, and recognisable by its Message-ID."""
    await outbox.post(VERIFY, to="ada@example.com")
    (taken,) = await outbox.sender(office)._take(5)  # and dies
    assert await outbox.sender(office)._take(5) == []
    with time_machine.travel(datetime.now(UTC) + LEASE + timedelta(seconds=1)):
        async with outbox.sending(office):
            await until(lambda: office.delivered)
    assert office.delivered[0][1]["Message-ID"] == f"<{taken.id}@acme.example>"


async def test_a_sender_that_lost_the_lease_changes_nothing(outbox: Outbox, office: PostOffice) -> None:
    """A process that was paused wakes up after another one sent its mail."""
    await outbox.post(VERIFY, to="ada@example.com")
    paused = outbox.sender(office)
    (taken,) = await paused._take(5)
    await outbox.hurry()
    async with outbox.sending(office):
        await until(lambda: _is_sent(outbox))
    sent = await outbox.row()
    await paused._fail(taken, "woken too late")
    assert await outbox.row() == sent


# --- it does not -----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_down_gets_the_mail_when_it_is_up_again(outbox: Outbox) -> None:
    office = PostOffice()
    async with office.open():
        pass  # its port is known, and closed
    await outbox.post(VERIFY, to="ada@example.com")
    async with outbox.sending(office):
        await until(lambda: _attempts(outbox, 1))
        row = await outbox.row()
        waits = row["due_at"] - datetime.now(UTC)
        assert timedelta(seconds=2) < waits < timedelta(seconds=7)
        assert (row["sent_at"], row["failed_at"]) == (None, None)
        assert row["sealed_message"] is not None
        await outbox.hurry()
        await until(lambda: _attempts(outbox, 2))
        async with office.open():
            await outbox.hurry()
            await until(lambda: office.delivered)
            await until(lambda: _is_sent(outbox))
    assert office.recipients == ["ada@example.com"]


async def _attempts(outbox: Outbox, number: int) -> bool:
    """Whether so many attempts have failed, and the last one is recorded: its lease would end much later."""
    row = await outbox.row()
    is_recorded = row["due_at"] - datetime.now(UTC) < timedelta(seconds=RETRY_SECONDS[number - 1] + 5)
    return row["attempts"] >= number and row["last_error"] is not None and is_recorded


def test_each_wait_is_longer_than_the_one_before_and_never_the_same_twice() -> None:
    for attempt, seconds in enumerate(RETRY_SECONDS, start=1):
        waits = {delay(attempt) for _ in range(50)}
        assert len(waits) > 40
        assert all(0.74 * seconds <= wait.total_seconds() <= 1.26 * seconds for wait in waits)
    assert delay(1000) < timedelta(hours=2)


async def test_after_a_day_it_is_given_up_and_forgotten(outbox: Outbox, office: PostOffice) -> None:
    office.answers["ada@example.com"] = "451 4.3.0 Come back later"
    await outbox.post(RESET, to="ada@example.com")
    await outbox.sql("UPDATE idp.mail_outbox SET created_at = now() - $1::interval", GIVE_UP_AFTER)
    async with outbox.sending(office):
        await until(lambda: _has_failed(outbox))
    row = await outbox.row()
    assert row["sealed_message"] is None
    assert row["last_error"] == "given up after 1 attempts: 451 4.3.0 Come back later"


async def _has_failed(outbox: Outbox) -> bool:
    return (await outbox.row())["failed_at"] is not None


async def test_a_refused_recipient_is_not_retried_and_blocks_no_other_mail(outbox: Outbox, office: PostOffice) -> None:
    """RFC 5321 section 4.2.1: 5yz is permanent."""
    office.answers["gone@example.com"] = "550 5.1.1 <gone@example.com> is unknown here"
    before = counted("failed")
    await outbox.post(VERIFY, to="gone@example.com")
    for number in range(3):
        await outbox.post(VERIFY, to=f"p{number}@example.com")
    async with outbox.sending(office):
        await until(lambda: len(office.delivered) == 3)
        await until(lambda: outbox.sql("SELECT 1 FROM idp.mail_outbox WHERE failed_at IS NOT NULL"))
        await outbox.hurry()
        await asyncio.sleep(0.2)
    assert office.tries["gone@example.com"] == 1
    (failed,) = await outbox.sql("SELECT * FROM idp.mail_outbox WHERE failed_at IS NOT NULL")
    assert failed["last_error"] == "550 5.1.1 … is unknown here", "the address is not kept"
    assert failed["sealed_message"] is None
    assert counted("failed") == before + 1


async def test_a_temporary_refusal_is_tried_again(outbox: Outbox, office: PostOffice) -> None:
    """RFC 5321 section 4.2.1: 4yz is transient, as greylisting is."""
    office.answers["grey@example.com"] = "450 4.2.0 Greylisted"
    await outbox.post(VERIFY, to="grey@example.com")
    async with outbox.sending(office):
        await until(lambda: _attempts(outbox, 1))
        office.answers.clear()
        await outbox.hurry()
        await until(lambda: office.delivered)
    assert office.tries["grey@example.com"] == 2


@pytest.mark.alone
async def test_a_slow_server_holds_up_neither_requests_nor_other_mails(outbox: Outbox, office: PostOffice) -> None:
    office.hangs = {f"slow{number}@example.com" for number in range(4)}
    async with outbox.sending(office):
        for address in sorted(office.hangs):
            await outbox.post(VERIFY, to=address)
        began = time.monotonic()
        await outbox.post(VERIFY, to="quick@example.com")
        assert time.monotonic() - began < 0.5, "writing a mail waits for no server"
        await until(lambda: office.delivered, seconds=3)
        assert office.recipients == ["quick@example.com"]
        office.release.set()
        await until(lambda: len(office.delivered) == 5)


async def test_a_server_that_never_answers_is_given_up_in_time(
    outbox: Outbox, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.mail.smtp._DATA_SECONDS", 0.2)
    office.hangs = {"ada@example.com"}
    await outbox.post(VERIFY, to="ada@example.com")
    async with outbox.sending(office):
        await until(lambda: _attempts(outbox, 1))
    assert "Timed out" in (await outbox.row())["last_error"]


def test_timeouts_of_smtp_replies_follow_rfc_5321() -> None:
    """Section 4.5.3.2, minutes for each; a lease is renewed meanwhile."""
    assert smtp._GREETING_SECONDS >= 5 * 60
    assert smtp._COMMAND_SECONDS >= 5 * 60
    assert smtp._DATA_SECONDS >= 10 * 60
    assert LEASE.total_seconds() > sender._RENEW_SECONDS * 3


@pytest.mark.alone
async def test_a_server_that_answers_the_final_dot_late_gets_the_mail_once(
    outbox: Outbox, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes long after the first lease is over, and two processes look for mails."""
    monkeypatch.setattr("idp.mail.sender.LEASE", timedelta(seconds=0.6))
    monkeypatch.setattr("idp.mail.sender._RENEW_SECONDS", 0.15)
    office.hangs = {"ada@example.com"}
    async with outbox.sending(office), outbox.sending(office):
        await outbox.post(VERIFY, to="ada@example.com")
        await asyncio.sleep(3)
        office.release.set()
        await until(lambda: _is_sent(outbox))
        await asyncio.sleep(1.5)
    assert office.recipients == ["ada@example.com"]
    assert office.tries["ada@example.com"] == 1


async def test_an_accepted_mail_is_not_sent_again_if_it_cannot_be_marked_as_sent(
    outbox: Outbox, office: PostOffice
) -> None:
    """The database was away for longer than the lease; the process that sent it remembers."""
    await outbox.post(VERIFY, to="ada@example.com")
    sending = outbox.sender(office)
    (taken,) = await sending._take(5)
    connection = await asyncpg.connect(outbox.url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        settling = asyncio.create_task(sending._deliver_and_record(taken))
        await until(lambda: office.tries["ada@example.com"])
        await connection.execute("LOCK TABLE idp.mail_outbox IN ACCESS EXCLUSIVE MODE")
        await until(lambda: office.delivered)
        await asyncio.sleep(0.2)
        settling.cancel()  # as the end of its lease would
        await asyncio.gather(settling, return_exceptions=True)
        await transaction.rollback()
    finally:
        await connection.close()
    assert taken.id in sending._delivered or (await outbox.row())["sent_at"] is not None
    await outbox.hurry()
    for again in await sending._take(5):
        await sending._deliver_and_record(again)
    assert (await outbox.row())["sent_at"] is not None
    assert office.recipients == ["ada@example.com"]


async def test_a_mail_that_no_root_secret_opens_fails_with_its_reason(outbox: Outbox, office: PostOffice) -> None:
    """SEC-32: the root secret was replaced and the earlier one taken away."""
    await outbox.post(VERIFY, to="ada@example.com")
    outbox.sealer = Sealer([Secret("another root secret than that one")])
    async with outbox.sending(office):
        await until(lambda: _has_failed(outbox))
    assert (await outbox.row())["last_error"] == "no live root secret decrypts it"
    assert office.delivered == []


async def test_no_log_and_no_row_says_what_only_the_recipient_may_know(outbox: Outbox, office: PostOffice) -> None:
    """SEC-74: spam filters quote the link that they do not like."""
    link = f"https://id.example.com/reset-password?token={TOKEN}"
    office.after_data = f"554 5.7.1 Message to ada@example.com refused for {link} and token={TOKEN}"
    await outbox.post(RESET, to="ada@example.com")
    with structlog.testing.capture_logs() as logs:
        async with outbox.sending(office):
            await until(lambda: _has_failed(outbox))
    shown = f"{logs} {dict(await outbox.row())}"
    assert "554 5.7.1 Message to … refused" in shown
    assert TOKEN not in shown
    assert "ada@example.com" not in shown
    assert logs[-1]["mail"] == str((await outbox.row())["id"])


async def test_without_a_server_mails_wait_for_a_day(outbox: Outbox) -> None:
    """Said at the start; what was posted is sent when SMTP_HOST is set within the day."""
    await outbox.post(VERIFY, to="ada@example.com")
    with structlog.testing.capture_logs() as logs:
        async with outbox.sending(None) as sender:
            assert logs[0]["event"].startswith("SMTP_HOST is not set")
            await sender.clean_up()
            assert (await outbox.row())["sealed_message"] is not None
            with time_machine.travel(datetime.now(UTC) + GIVE_UP_AFTER + timedelta(minutes=1)):
                await sender.clean_up()
    row = await outbox.row()
    assert (row["sealed_message"], row["last_error"]) == (None, "SMTP_HOST is not set")
    assert row["failed_at"] is not None


async def test_mails_older_than_a_month_are_deleted_unless_they_wait(outbox: Outbox) -> None:
    for _ in range(3):
        await outbox.post(VERIFY, to="ada@example.com")
    await outbox.sql("UPDATE idp.mail_outbox SET created_at = now() - interval '31 days'")
    await outbox.sql(
        "UPDATE idp.mail_outbox SET sent_at = now() WHERE id = (SELECT min(id::text)::uuid FROM idp.mail_outbox)"
    )
    await outbox.sql(
        "UPDATE idp.mail_outbox SET failed_at = now() WHERE id = (SELECT max(id::text)::uuid FROM idp.mail_outbox)"
    )
    await outbox.sender(None, keeps_text=True).clean_up()
    assert (await outbox.row())["sent_at"] is None
    assert REGISTRY.get_sample_value("idp_mail_pending") == 1


# --- who may read it on the way --------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS context, whose certificate this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "post.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + pem)
    (tmp_path / "ca.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


def only_ada(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"ada", b"pa55 w0rd"), handled=False)


async def test_starttls_comes_first_and_then_the_password(outbox: Outbox, certificate: ssl.SSLContext) -> None:
    """S4-29: SMTP_USE_TLS, SMTP_USERNAME and SMTP_PASSWORD."""
    office = PostOffice()
    async with office.open(tls_context=certificate, require_starttls=True, authenticator=only_ada, auth_required=True):
        account = {"smtp_use_tls": True, "smtp_username": "ada", "smtp_password": Secret("pa55 w0rd")}
        async with outbox.sending(office, **account):
            await outbox.post(VERIFY, to="ada@example.com")
            await until(lambda: office.delivered)
    assert office.secured == [True]


async def test_a_wrong_password_is_our_mistake_and_is_tried_again(outbox: Outbox, certificate: ssl.SSLContext) -> None:
    """An operator who mistypes a password must not lose the mails of that hour."""
    office = PostOffice()
    async with office.open(tls_context=certificate, authenticator=only_ada, auth_required=True):
        account = {"smtp_use_tls": True, "smtp_username": "ada", "smtp_password": Secret("wrong")}
        async with outbox.sending(office, **account):
            await outbox.post(VERIFY, to="ada@example.com")
            await until(lambda: _attempts(outbox, 1))
    row = await outbox.row()
    assert row["last_error"].startswith("535 ")
    assert row["failed_at"] is None


async def test_nothing_is_sent_in_the_clear_where_tls_is_wanted(outbox: Outbox, office: PostOffice) -> None:
    """A server or an attacker on the network that does not offer STARTTLS gets no mail."""
    async with outbox.sending(office, smtp_use_tls=True):
        await outbox.post(VERIFY, to="ada@example.com")
        await until(lambda: _attempts(outbox, 1))
    assert office.delivered == []
    assert "STARTTLS" in (await outbox.row())["last_error"]


async def test_a_server_with_another_certificate_gets_no_mail(
    outbox: Outbox, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    office = PostOffice()
    async with office.open(tls_context=certificate), outbox.sending(office, smtp_use_tls=True):
        await outbox.post(VERIFY, to="ada@example.com")
        await until(lambda: _attempts(outbox, 1))
    assert office.delivered == []


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com\r\nBcc: everybody@example.com",
        "ada@example.com\nRCPT TO:<everybody@example.com>",
        "ada@example.com, everybody@example.com",
        "Ada <ada@example.com>, everybody@example.com",
        "ada@example.com>\r\nDATA\r\n",
        "nobody",
        "@example.com",
        "",
    ],
)
async def test_an_address_names_one_recipient_or_the_mail_fails(
    outbox: Outbox, office: PostOffice, address: str
) -> None:
    """SEC-46: no header and no command is smuggled in."""
    async with outbox.sending(office):
        await outbox.post(VERIFY, to=address)
        await until(lambda: _has_failed(outbox))
        await outbox.post(VERIFY, to="next@example.com")
        await until(lambda: office.delivered)
    assert office.recipients == ["next@example.com"]
    assert set(office.tries) == {"next@example.com"}


async def test_a_domain_in_any_script_is_sent_to_in_a_labels(outbox: Outbox, office: PostOffice) -> None:
    """RFC 5891: every server takes those."""
    async with outbox.sending(office):
        await outbox.post(VERIFY, to="ada@bücher.example")
        await until(lambda: office.delivered)
    assert office.recipients == ["ada@xn--bcher-kva.example"]


async def test_a_mailbox_in_any_script_needs_a_server_that_speaks_smtputf8(outbox: Outbox) -> None:
    """RFC 6531: sent where it can be, failed with the reason where it cannot."""
    office = PostOffice()
    async with office.open(enable_SMTPUTF8=True), outbox.sending(office):
        await outbox.post(VERIFY, to="δοκιμή@example.com")
        await until(lambda: office.delivered)
        assert office.recipients == ["δοκιμή@example.com"]
    await outbox.sql("TRUNCATE idp.mail_outbox")
    async with office.open(enable_SMTPUTF8=False), outbox.sending(office):
        await outbox.post(VERIFY, to="δοκιμή@example.com")
        await until(lambda: _has_failed(outbox))
    assert "SMTPUTF8" in (await outbox.row())["last_error"]
