"""A cache of the issuer's JWKS that handles rotation, unknown keys and outages (SEC-22, SEC-30, SEC-31).

One fetch runs at a time, in its own thread. Callers wait for it only if there are no usable keys. The cache serves
asynchronous and synchronous callers.
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
_FETCH_ABANDONED_AFTER = 30.0  # seconds; a fetch takes no longer, unless its thread hangs or did not survive a fork


class _Document(msgspec.Struct):
    keys: list[dict[str, object]]


class JwksCache:
    """The cached keys of a JWKS URL.

    Args:
        url: such as https://id.example.com/.well-known/jwks.json.
        timeout: seconds that a caller waits for a fetch.
        refresh_after: seconds until keys are fetched again in the background; a removed key is accepted until then.
        keys_live: seconds that keys are used while the issuer is unreachable; after that, tokens are not accepted.
        cool_down: minimum of seconds between two fetches, also for unknown keys (SEC-22).
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
        self._failure: str | None = "not fetched yet"
        self._running_fetch: Future[None] | None = None
        self._lock = threading.Lock()

    def ready(self, kid: str) -> VerificationKey | None:
        """Return a cached key without waiting, None if it is unknown; refresh in the background if it is time."""
        age = time.monotonic() - self._fetched
        if age >= self._refresh_after:
            if age >= self._keys_live:
                return None
            self._start_fetch()
        return self._keys.get(kid)

    async def key(self, kid: str) -> VerificationKey:
        """Return the key with this id.

        Raises:
            TokenRejected: the issuer has no such key.
            AuthUnavailable: the issuer is unreachable, and no usable key is cached.
        """
        key = self.ready(kid)
        if key is None:
            fetch = self._start_fetch()
            if fetch is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(fetch), self._timeout)
            key = self._get(kid)
        return key

    def key_sync(self, kid: str) -> VerificationKey:
        """Same as `key`, for threads."""
        key = self.ready(kid)
        if key is None:
            fetch = self._start_fetch()
            if fetch is not None:
                with suppress(TimeoutError):
                    fetch.result(self._timeout)
            key = self._get(kid)
        return key

    def _get(self, kid: str) -> VerificationKey:
        if time.monotonic() - self._fetched >= self._keys_live:
            raise AuthUnavailable(f"no keys from {self.url}: {self._failure}")
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._failure is not None or self._running_fetch is not None:  # it may be a new key
            raise AuthUnavailable(f"unknown key, and {self.url} is unreachable: {self._failure}")
        raise TokenRejected("signed with an unknown key")

    def _start_fetch(self) -> Future[None] | None:
        """Start a fetch or join the running one; None during the cool-down."""
        with self._lock:
            since = time.monotonic() - self._attempted
            if since >= (self._cool_down if self._running_fetch is None else _FETCH_ABANDONED_AFTER):
                fetch: Future[None] = Future()
                fetch.set_running_or_notify_cancel()  # a waiter's timeout must not cancel it for the others
                threading.Thread(target=self._run_fetch, args=(fetch,), name="idp-client-jwks", daemon=True).start()
                self._attempted, self._running_fetch = time.monotonic(), fetch
            return self._running_fetch

    def _run_fetch(self, fetch: Future[None]) -> None:
        try:
            self._keys = self._read(self._download())
            self._fetched, self._failure = time.monotonic(), None
        except Exception as error:  # noqa: BLE001
            # On any error, the cached keys are used until `keys_live`.
            self._failure = f"{type(error).__name__}: {error}"
            log.warning("cannot fetch the JWKS from %s: %s", self.url, self._failure)
        finally:
            with self._lock:
                if self._running_fetch is fetch:
                    self._attempted, self._running_fetch = time.monotonic(), None
            fetch.set_result(None)

    def _download(self) -> bytes:
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
                # Keep the object of an unchanged key: cached callers refer to it.
                keys[kid] = known if known is not None and known.jwk == jwk else from_jwk(jwk)
            except UnusableKey as error:
                log.info("ignoring a key of %s: %s", self.url, error)
        if not keys:
            raise ValueError("no usable key")
        return keys
