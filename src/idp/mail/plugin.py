"""Plugin of the mail outbox and its sender."""

from idp.db.engine import Database
from idp.mail.addresses import UnusableAddress
from idp.mail.outbox import Mailer
from idp.mail.sender import MailSender
from idp.mail.smtp import SmtpTransport
from idp.plugin import Plugin
from idp.settings import SettingsError
from idp.settings_schema import Mail
from idp.signing.sealing import Sealer


class MailPlugin(Plugin):
    """Provides `mailer`, and sends its mails.

    Args:
        settings: the server, and the sender's address.
        database: stores the outbox.
        sealer: decrypts the mails.
        mailer: writes them.
        keeps_text: keep the text after sending, for the mailbox of `idp dev`.

    Raises:
        SettingsError: the sender's address cannot be used.
    """

    def __init__(self, settings: Mail, database: Database, sealer: Sealer, mailer: Mailer, *, keeps_text: bool) -> None:
        self.provides = {"mailer": mailer}
        self.services = [
            MailSender(database, sealer, mailer.posted, transport=_transport(settings), keeps_text=keeps_text)
        ]


def _transport(settings: Mail) -> SmtpTransport | None:
    try:
        return SmtpTransport(settings) if settings.smtp_host else None
    except UnusableAddress as error:
        advice = "use an address such as no-reply@example.com"
        raise SettingsError([f"FROM_EMAIL is {settings.from_email!r} ({error}): {advice}."]) from None
