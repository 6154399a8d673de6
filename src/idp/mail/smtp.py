"""Deliver a mail to an SMTP server (RFC 5321), and classify its response for retries."""

import asyncio
import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from uuid import UUID

import aiosmtplib
from aiosmtplib import errors as refusals

from idp.mail.addresses import FALLBACK, UnusableAddress, needs_utf8, parse_address, parse_sender
from idp.mail.rendering import RenderedMail
from idp.settings_schema import Mail as MailSettings

IMPLICIT_TLS_PORT = 465  # RFC 8314 section 3.3
# Timeouts (RFC 5321 section 4.5.3.2). A server that scans a mail before it answers the final dot already has the mail:
# an earlier timeout and retry would send it twice.
_GREETING_SECONDS = 300.0  # also for connecting, TLS and authentication
_COMMAND_SECONDS = 300.0  # MAIL and RCPT
_DATA_SECONDS = 600.0  # DATA, the message, and the final dot
WHOLE_SECONDS = 2 * _GREETING_SECONDS + 2 * _COMMAND_SECONDS + 2 * _DATA_SECONDS
_REASON_LIMIT = 200
_PRIVATE = re.compile(r"\S*(?:://|token=|@)\S*")  # spam filters quote the rejected link


class NotSent(Exception):
    """Not sent; retry later. The message contains neither address nor link."""


class Undeliverable(Exception):
    """Not sent, and a retry is useless. The message contains neither address nor link."""


class SmtpTransport:
    """Sends through the configured server, one connection per mail, so that none waits for another.

    Args:
        settings: the server; `smtp_host` is set.
    """

    def __init__(self, settings: MailSettings) -> None:
        assert settings.smtp_host is not None
        self._settings = settings
        self._sender = parse_sender(settings.from_email or FALLBACK)

    async def send(self, mail: RenderedMail, *, mail_id: UUID, written_at: datetime) -> None:
        """Send one mail.

        Raises:
            NotSent: no connection, a timeout, a 4xx, or a rejection of the sender.
            Undeliverable: a 5xx for this recipient or message, or an invalid address.
        """
        try:
            to = parse_address(mail.to)
            message = compose(mail, sender=self._sender, to=to, mail_id=mail_id, written_at=written_at)
        except (UnusableAddress, ValueError) as error:
            raise Undeliverable(_reason(error)) from None
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                await self._deliver(message, to)
        except (refusals.SMTPRecipientRefused, refusals.SMTPDataError) as error:
            raise _classify(error.code, error) from None
        except (refusals.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise NotSent(_reason(error)) from None

    async def _deliver(self, message: EmailMessage, to: Address) -> None:
        implicit = self._settings.smtp_port == IMPLICIT_TLS_PORT
        password = self._settings.smtp_password
        client = aiosmtplib.SMTP(
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            username=self._settings.smtp_username,
            password=password.reveal() if password and self._settings.smtp_username else None,
            use_tls=implicit,
            start_tls=self._settings.smtp_use_tls and not implicit,
            local_hostname=self._sender.domain,  # otherwise the library queries DNS
            timeout=_GREETING_SECONDS,
        )
        utf8 = needs_utf8(to) or needs_utf8(self._sender)
        try:
            await client.connect()
            if utf8:
                await client.ehlo()  # otherwise only called when sending
            if utf8 and not client.supports_extension("smtputf8"):
                raise Undeliverable("the address requires SMTPUTF8 (RFC 6531), which the server does not support")
            body = message.as_bytes(policy=(SMTPUTF8 if utf8 else SMTP).clone(cte_type="7bit"))
            encoding, options = ("utf-8", ["SMTPUTF8"]) if utf8 else ("ascii", [])
            timeout = _COMMAND_SECONDS
            await client.mail(self._sender.addr_spec, options=options, encoding=encoding, timeout=timeout)
            await client.rcpt(to.addr_spec, encoding=encoding, timeout=timeout)
            await client.data(body, timeout=_DATA_SECONDS)
        finally:
            client.close()  # not QUIT: a server that hangs after delivery must not delay us


def compose(mail: RenderedMail, *, sender: Address, to: Address, mail_id: UUID, written_at: datetime) -> EmailMessage:
    """Return the message; the same row gives the same message, so duplicates can be recognized.

    Raises:
        ValueError: a header would contain a line break.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = mail.subject
    message["Date"] = written_at
    message["Message-ID"] = f"<{mail_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(mail.text, charset="utf-8")
    message.add_alternative(mail.html, subtype="html", charset="utf-8")
    return message


def _classify(code: int, error: Exception) -> Exception:
    return Undeliverable(_reason(error)) if 500 <= code <= 599 else NotSent(_reason(error))


def _reason(error: BaseException) -> str:
    """Return the error in one line, without data that only the recipient may see."""
    code = f"{error.code} " if isinstance(error, refusals.SMTPResponseException) else ""
    reply = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(_PRIVATE.sub("…", f"{code}{reply}").split())[:_REASON_LIMIT]
