"""Sends logout tokens to clients (OpenID Connect Back-Channel Logout 1.0 section 2.5; SEC-73).

Every process sends, each its own rows. Posts run at the same time, a few for each client, so that a slow or dead client
delays no other.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from urllib.parse import urlencode
from uuid import uuid4

import structlog

from idp import clock
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.ops import metrics
from idp.ops.logging import describe
from idp.provider import logout_notifications
from idp.provider.logout_notifications import LEASE_SECONDS, LogoutNotification
from idp.signing.fetch import Fetcher, FetchFailed
from idp.signing.id_token import IdTokens

log = structlog.get_logger("idp.provider.backchannel")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_SECONDS = 120  # the longest that section 2.4 recommends
TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.5
_UNAVAILABLE_SECONDS = 2.0
_AT_ONCE, _AT_ONCE_PER_CLIENT = 200, 4
_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_DELIVERED, _REFUSED, _FAILED = "delivered", "refused", "failed"


class BackchannelLogout(BackgroundService):
    """Sends logout tokens.

    Args:
        database: stores what waits.
        tokens: signs logout tokens.
        fetcher: posts, with the limits of SEC-66.
    """

    def __init__(self, database: Database, tokens: IdTokens, fetcher: Fetcher) -> None:
        super().__init__("back-channel logout", self._run)
        self._database = database
        self._tokens = tokens
        self._fetcher = fetcher
        self._posts: set[asyncio.Task[None]] = set()
        self._of_client: Counter[str] = Counter()
        self._answered = asyncio.Event()  # there is room for another post

    async def stop(self) -> None:
        """Stop; what was not answered yet is sent again by another process."""
        await super().stop()
        for task in self._posts:
            task.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            pause = _POLL_SECONDS
            try:
                await self._start_posts()
            except DatabaseUnavailable:
                pause = _UNAVAILABLE_SECONDS
            except Exception as error:  # noqa: BLE001  background work: the next round may succeed
                log.error("back-channel logout failed", **describe(error))  # noqa: TRY400
                pause = _UNAVAILABLE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), pause)
            self._answered.clear()

    async def _start_posts(self) -> None:
        """Take what is due, and start a task for each."""
        room = _AT_ONCE - len(self._posts)
        if room <= 0:
            return
        busy = [client_id for client_id, number in self._of_client.items() if number >= _AT_ONCE_PER_CLIENT]
        async with self._database.transaction() as session:
            taken = await logout_notifications.take(session, most=room, of_client=_AT_ONCE_PER_CLIENT, busy=busy)
        for each in taken:
            self._of_client[each.client_id] += 1
            task = asyncio.create_task(self._send(each))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)

    async def _send(self, notification: LogoutNotification) -> None:
        """Send one and note the result; if PostgreSQL is unavailable then, it is sent again."""
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._deliver(notification)
        except (DatabaseUnavailable, TimeoutError):
            pass
        except Exception as error:  # noqa: BLE001  the others go on
            log.error("back-channel logout failed", client_id=notification.client_id, **describe(error))  # noqa: TRY400
        finally:
            self._of_client -= Counter((notification.client_id,))  # without clients that have none
            self._answered.set()

    async def _deliver(self, notification: LogoutNotification) -> None:
        result, error = await self._post(notification)
        metrics.count_logout_notification(result=result)
        async with self._database.transaction() as session:
            if result == _DELIVERED:
                await logout_notifications.remove(session, notification)
            else:
                await logout_notifications.note_failure(session, notification, error, final=result == _REFUSED)

    async def _post(self, notification: LogoutNotification) -> tuple[str, str]:
        """Post a new token, and return the result and what went wrong."""
        if notification.uri is None:
            return _DELIVERED, ""  # nothing to do: the client wants none any more
        body = urlencode({"logout_token": await self._token(notification)}).encode()
        try:
            answer = await self._fetcher.post(notification.uri, body, _HEADERS, seconds=TIMEOUT_SECONDS)
        except FetchFailed as error:
            return _FAILED, str(error)[:500]
        if 200 <= answer.status < 300:
            return _DELIVERED, ""
        return _REFUSED if answer.status == 400 else _FAILED, f"answered {answer.status}"

    async def _token(self, notification: LogoutNotification) -> str:
        """Return a logout token (section 2.4): no `nonce`, so that it is never taken for an ID token."""
        claims = {
            "sub": notification.user_id,
            "aud": notification.client_id,
            "exp": clock.timestamp() + TOKEN_SECONDS,
            "jti": str(uuid4()),
            "sid": str(notification.sid),
            "events": {EVENT: {}},
        }
        return await self._tokens.sign_logout_token(claims, algorithm=notification.algorithm)
