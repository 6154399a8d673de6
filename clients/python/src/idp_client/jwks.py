"""The issuer's public keys, kept in memory: rotation, unknown keys, outages (SEC-22, SEC-30, SEC-31).

One fetch at a time, in a thread of its own, so that neither an event loop nor a caller waits for it while there are
keys to work with, and the same cache serves asynchronous and synchronous callers.
"""

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

import httpx2
import msgspec

from idp_client.errors import AuthUnavailable, TokenRejected
from idp_client.keys import UnusableKey, VerificationKey, from_jwk

log = logging.getLogger("idp_client")

_MAX_BYTES = 262_144
_LOST_AFTER = 30.0  # seconds; its thread did not come along when the process forked, or hangs


class _Document(msgspec.Struct):
    keys: list[dict[str, object]]


class JwksCache:
    """The keys behind one address.

    Args:
        url: such as https://id.example.com/.well-known/jwks.json.
        timeout: seconds that anyone waits for a fetch.
        refresh_after: seconds after which keys are fetched again, in the background; so long an ended key may live on.
        keys_live: seconds that keys serve while the issuer cannot be reached; after that nothing is accepted.
        cool_down: seconds between two fetches, however many unknown keys are asked for (SEC-22).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 2.0,
        refresh_after: float = 300.0,
        keys_live: float = 3600.0,
        cool_down: float = 5.0,
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._refresh_after = refresh_after
        self._keys_live = keys_live
        self._cool_down = cool_down
        self._keys: dict[str, VerificationKey] = {}
        self._fetched = self._attempted = float("-inf")
        self._failure: str | None = "nothing was fetched yet"
        self._flight: Future[None] | None = None
        self._lock = threading.Lock()

    def ready(self, kid: str) -> VerificationKey | None:
        """Return the key if it is known without waiting; fetches in the background when it is time to."""
        age = time.monotonic() - self._fetched
        if age >= self._refresh_after:
            if age >= self._keys_live:
                return None
            self._start()
        return self._keys.get(kid)

    async def key(self, kid: str) -> VerificationKey:
        """Return the key of this id.

        Raises:
            TokenRejected: the issuer has no such key.
            AuthUnavailable: the issuer could not be asked, and there is no key that may still serve.
        """
        key = self.ready(kid)
        if key is None:
            flight = self._start()
            if flight is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(flight), self._timeout)
            key = self._decide(kid)
        return key

    def key_sync(self, kid: str) -> VerificationKey:
        """The same as `key`, for threads."""
        key = self.ready(kid)
        if key is None:
            flight = self._start()
            if flight is not None:
                with suppress(TimeoutError):
                    flight.result(self._timeout)
            key = self._decide(kid)
        return key

    def _decide(self, kid: str) -> VerificationKey:
        if time.monotonic() - self._fetched >= self._keys_live:
            raise AuthUnavailable(f"no keys from {self.url}: {self._failure}")
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._failure is not None or self._flight is not None:  # it may be a new key that was not fetched yet
            raise AuthUnavailable(f"unknown key, and {self.url} cannot be asked: {self._failure}")
        raise TokenRejected("signed with a key that the issuer does not have")

    def _start(self) -> Future[None] | None:
        """Start a fetch or join the one under way; None within the cool-down."""
        with self._lock:
            since = time.monotonic() - self._attempted
            if since >= (self._cool_down if self._flight is None else _LOST_AFTER):
                flight: Future[None] = Future()
                flight.set_running_or_notify_cancel()  # a waiter that gives up does not cancel it for the others
                threading.Thread(target=self._fly, args=(flight,), name="idp-client-jwks", daemon=True).start()
                self._attempted, self._flight = time.monotonic(), flight
            return self._flight

    def _fly(self, flight: Future[None]) -> None:
        try:
            self._keys = self._read(self._fetch())
            self._fetched, self._failure = time.monotonic(), None
        except Exception as error:  # noqa: BLE001
            # Whatever it is, nothing was learnt: the keys that are there serve until their time.
            self._failure = f"{type(error).__name__}: {error}"
            log.warning("the keys could not be fetched from %s: %s", self.url, self._failure)
        finally:
            with self._lock:
                if self._flight is flight:
                    self._attempted, self._flight = time.monotonic(), None
            flight.set_result(None)

    def _fetch(self) -> bytes:
        deadline = time.monotonic() + self._timeout
        body = bytearray()
        with httpx2.Client(timeout=self._timeout) as client, client.stream("GET", self.url) as answer:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES or time.monotonic() > deadline:
                    raise ValueError("too large or too slow")
        return bytes(body)

    def _read(self, body: bytes) -> dict[str, VerificationKey]:
        keys: dict[str, VerificationKey] = {}
        for jwk in msgspec.json.decode(body, type=_Document).keys:
            kid = jwk.get("kid")
            if not isinstance(kid, str) or kid in keys:
                continue
            known = self._keys.get(kid)
            try:
                # The same object for the same key: verdicts that were remembered with it stay good.
                keys[kid] = known if known is not None and known.jwk == jwk else from_jwk(jwk)
            except UnusableKey as error:
                log.info("a key of %s is not used: %s", self.url, error)
        if not keys:
            raise ValueError("no usable key")
        return keys
