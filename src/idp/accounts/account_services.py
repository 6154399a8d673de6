"""What every journey that goes through a mail works with, and the steps that several of them share."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from litestar.background_tasks import BackgroundTask
from msgspec import Struct

from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import OneTimeTokenInvalid
from idp.mail.outbox import Mailer
from idp.ops.logging import describe
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import Counted, LoginRules
from idp.sessions.known_devices import KnownDevices
from idp.settings_schema import Accounts
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.one_time_tokens import OneTimeToken, OneTimeTokens, Purpose
from idp.users.passwords import Passwords

log = structlog.get_logger("idp.accounts")


class AccountServices(Struct, frozen=True):
    """What journeys work with.

    Attributes:
        front_end: the address of what people see, without a slash at the end.
    """

    database: Database
    passwords: Passwords
    one_time_tokens: OneTimeTokens
    mailer: Mailer
    limiter: Limiter
    rules: LoginRules
    devices: KnownDevices
    settings: Accounts
    front_end: str

    def is_known(self, holder: Holder | None, cookies: Mapping[str, str]) -> bool:
        """Whether these cookies are of a device where somebody has signed in with their present password."""
        if holder is None:
            return False
        return self.devices.find(cookies, holder.user_id, password_version=holder.password_version) is not None

    async def allow(self, *counted: Counted) -> None:
        """Count a request for a mail, or refuse it.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self.limiter.take(*counted)

    async def may_be_sent(
        self, email: str, origin: Origin, rules: Callable[..., tuple[Counted, ...]], *, cookies: Mapping[str, str]
    ) -> Holder | None:
        """Return who may be sent a link to an address; the same work for every address, before the answer (SEC-9).

        Args:
            email: what was typed.
            origin: who asks.
            rules: which limits count it, such as `self.rules.reset`.
            cookies: of the request, which may be one of the account's devices.

        Raises:
            RateLimited: too many were asked for this address, or from there.
        """
        holder = await credentials.look_up(self.database.reads, email)
        known = self.is_known(holder, cookies)
        await self.allow(*rules(email_key(email), origin.ip_address or "", known=known))
        return holder

    async def check_link(self, presented_token: str, purposes: frozenset[Purpose], origin: Origin) -> OneTimeToken:
        """Return what a link proves, without using it up.

        Raises:
            OneTimeTokenInvalid: nothing; it counts against the address it came from.
            RateLimited: too many came from there.
        """
        rule = self.rules.bad_link(origin.ip_address or "")
        await self.limiter.check(rule)
        async with self.database.transaction() as session:
            found = await self.one_time_tokens.find(session, presented_token, purposes)
        if found is None:
            await self.limiter.count(rule)
            raise OneTimeTokenInvalid
        return found


def afterwards(work: Callable[..., Awaitable[None]], *args: Any) -> BackgroundTask:
    """Do something when the answer has left, so that its time does not tell what there was to do (SEC-9).

    The next request's time does, so the work must be the same for every account (`accounts/timing_decoy.py`). Only for
    what the answer does not promise: it is lost if the process dies at this moment, and requested again.
    """

    async def run() -> None:
        try:
            await work(*args)
        except Exception as error:  # noqa: BLE001  nobody waits for it any more
            log.warning("a mail that was asked for could not be written", **describe(error))

    return BackgroundTask(run)
