"""Dependencies and shared steps of the flows that send mails."""

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
from idp.ops.rate_limit_rules import Counted, RateLimitRules
from idp.sessions.known_devices import KnownDevices
from idp.settings_schema import Accounts
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.one_time_tokens import OneTimeToken, OneTimeTokens, Purpose
from idp.users.passwords import Passwords

log = structlog.get_logger("idp.accounts")


class AccountServices(Struct, frozen=True):
    """Dependencies of account flows.

    Attributes:
        front_end: URL of the front end, without a trailing slash.
    """

    database: Database
    passwords: Passwords
    one_time_tokens: OneTimeTokens
    mailer: Mailer
    limiter: Limiter
    rules: RateLimitRules
    devices: KnownDevices
    settings: Accounts
    front_end: str

    def is_known(self, holder: Holder | None, cookies: Mapping[str, str]) -> bool:
        """Whether the cookies are from a device where the user signed in with the current password."""
        if holder is None:
            return False
        return self.devices.find(cookies, holder.user_id, password_version=holder.password_version) is not None

    async def allow(self, *counted: Counted) -> None:
        """Count a request for a mail against the rate limits.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self.limiter.take(*counted)

    async def find_link_recipient(
        self, email: str, origin: Origin, rules: Callable[..., tuple[Counted, ...]], *, cookies: Mapping[str, str]
    ) -> Holder | None:
        """Return the user who may receive a link; does the same work for every address (SEC-9).

        Args:
            email: the entered address.
            origin: the request's origin.
            rules: the rate limits, such as `self.rules.reset`.
            cookies: of the request, to recognize a known device.

        Raises:
            RateLimited: too many requests for this address or from this client.
        """
        holder = await credentials.look_up(self.database.reads, email)
        known = self.is_known(holder, cookies)
        await self.allow(*rules(email_key(email), origin.ip_address or "", known=known))
        return holder

    async def check_link(self, presented_token: str, purposes: frozenset[Purpose], origin: Origin) -> OneTimeToken:
        """Return the token of a link without consuming it.

        Raises:
            OneTimeTokenInvalid: the link is invalid; counted per client address.
            RateLimited: too many invalid links from this client.
        """
        rule = self.rules.bad_link(origin.ip_address or "")
        await self.limiter.check(rule)
        async with self.database.transaction() as session:
            link = await self.one_time_tokens.find(session, presented_token, purposes)
        if link is None:
            await self.limiter.count(rule)
            raise OneTimeTokenInvalid
        return link


def run_after_response(work: Callable[..., Awaitable[None]], *args: Any) -> BackgroundTask:
    """Run work after the response, so that the response time does not reveal whether there was work (SEC-9).

    The time of the next request could reveal it, so the work must be the same for every account
    (`accounts/timing_decoy.py`). Use it only for work that the response does not promise: it is lost if the process
    dies.
    """

    async def run() -> None:
        try:
            await work(*args)
        except Exception as error:  # noqa: BLE001  the response was sent
            log.warning("a requested mail could not be written", **describe(error))

    return BackgroundTask(run)
