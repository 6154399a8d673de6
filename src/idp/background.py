"""What runs beside the requests, from the start of the application to its end."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

import asyncpg

from idp.audit.chain import Chain
from idp.components import Components
from idp.core import Core
from idp.db.development_mark import DevelopmentMark
from idp.errors import DatabaseUnavailable
from idp.mail.addresses import UnusableAddress
from idp.mail.sender import MailSender
from idp.mail.smtp import SmtpTransport
from idp.ops.access_log import access_log
from idp.ops.outbox_gauge import OutboxGauge
from idp.settings import Profile, SettingsError


class _Service(Protocol):
    def start(self) -> None: ...

    async def stop(self) -> None: ...


def _mail_sender(core: Core, *, keeps_mail: bool) -> MailSender:
    mail = core.settings.mail
    try:
        transport = SmtpTransport(mail) if mail.smtp_host else None
    except UnusableAddress as error:
        advice = "put an address such as no-reply@example.com there"
        raise SettingsError([f"FROM_EMAIL is {mail.from_email!r} ({error}): {advice}."]) from None
    return MailSender(
        core.database,
        core.sealer,
        core.mailer.posted,
        transport=transport,
        keeps_text=keeps_mail,
    )


def services(core: Core, components: Components, profile: Profile, *, keeps_mail: bool) -> list[_Service]:
    """Return what runs in the background, in the order in which it is started.

    Args:
        parts: of the application.
        components: of the application.
        profile: production looks for the mark of `idp dev` in its database.
        keeps_mail: whether mails stay readable after they were sent.

    Raises:
        SettingsError: no usable sender for mails.
    """
    return [
        core.proofs,
        *([DevelopmentMark(core.database)] if profile == "production" else []),
        core.change_listener,
        core.usage,
        components.activity,
        components.idempotency,
        components.commands,
        _mail_sender(core, keeps_mail=keeps_mail),
        Chain(core.database),
        OutboxGauge(core.database),
    ]


def lifespan(
    core: Core, components: Components, background: Sequence[_Service]
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Return what starts the services with the application, and stops them in reverse."""

    @asynccontextmanager
    async def run(_app: object) -> AsyncIterator[None]:
        core.passwords.start()
        with suppress(DatabaseUnavailable, asyncpg.PostgresError):  # else it is read in the background
            await core.proofs.prepare()
        for each in background:
            each.start()
        try:
            yield
        finally:
            for each in reversed(background):
                await each.stop()
            core.passwords.stop()
            await components.shared.close()
            await components.store.close()
            await core.database.close()
            access_log.flush()

    return run
