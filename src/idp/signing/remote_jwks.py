"""The public keys of another issuer: discovered, cached, and fetched again for an unknown `kid` (SEC-22, SEC-68).

One fetch at a time; an unknown `kid` causes at most one per cool-down. While the issuer is unreachable, the known keys
stay valid for a limited time (stale-if-error).
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec import Struct

from idp.errors import DependencyUnavailable
from idp.signing import base64url
from idp.signing.fetch import Fetcher, FetchFailed

log = structlog.get_logger("idp.signing")

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_MIN_LIFE, _MAX_LIFE, _DEFAULT_LIFE = 600.0, 86_400.0, 3600.0  # seconds
_STALE_SECONDS = 86_400.0  # how long expired keys are used while the issuer is unreachable
_COOL_DOWN_SECONDS = 30.0  # between two fetches, for any number of unknown ids
_RETRY_SECONDS = 2.0  # after a failed fetch
_MIN_RSA_BITS = 2048
_MAX_KEYS = 100
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


class RemoteKey(Struct, frozen=True):
    """A public key of `cryptography`, and the algorithms it may verify."""

    public_key: Any
    algorithms: frozenset[str]


class RemoteJwks:
    """The keys of one issuer.

    Args:
        issuer: its name in tokens and in the discovery document.
        fetcher: fetches the documents.
        jwks_url: URL of the keys; None for discovery.
        algorithms: allowed in tokens of this issuer.
        removed: called when a key was removed or replaced, to invalidate cached verdicts.
    """

    def __init__(
        self,
        issuer: str,
        fetcher: Fetcher,
        *,
        jwks_url: str | None = None,
        algorithms: Sequence[str] = ("RS256",),
        removed: Callable[[], None] = lambda: None,
    ) -> None:
        self.issuer = issuer
        self._fetcher = fetcher
        self._jwks_url = jwks_url
        self._algorithms = frozenset(algorithms)
        self._removed = removed
        self._keys: dict[str, RemoteKey] = {}
        self._fresh_until = self._stale_until = self._next_try = float("-inf")
        self._failed = False
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> RemoteKey | None:
        """Return the key of this id, None if the issuer has none.

        Raises:
            DependencyUnavailable: the keys are not known, and cannot be fetched now.
        """
        now = time.monotonic()
        key = self._keys.get(kid) if now < self._stale_until else None
        if key is None:
            await self._refresh(kid)
            key = self._keys.get(kid) if time.monotonic() < self._stale_until else None
            if key is None and self._failed:
                raise DependencyUnavailable(f"The signing keys of {self.issuer} cannot be fetched now.")
        elif now >= self._fresh_until and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh(None))  # no request waits for a slow issuer
        return key

    async def find_newer(self, kid: str, known: RemoteKey) -> RemoteKey | None:
        """Return the key that has replaced another under the same id, None if there is none.

        For a signature that a known key does not verify: some issuers give a new key the id of the old one. Fetches at
        most once per cool-down, and never raises for an unreachable issuer.
        """
        if (key := self._keys.get(kid)) == known:
            await self._refresh(None)
            key = self._keys.get(kid)
        return key if key != known else None

    async def _refresh(self, kid: str | None) -> None:
        async with self._lock:
            now = time.monotonic()
            if now < self._next_try or (kid is not None and kid in self._keys and now < self._stale_until):
                return
            try:
                await self.fetch()
                self._failed, wait = False, _COOL_DOWN_SECONDS
            except FetchFailed as error:
                log.warning("keys of an issuer cannot be fetched", issuer=self.issuer, reason=str(error))
                self._failed, wait = True, _RETRY_SECONDS
            self._next_try = time.monotonic() + wait

    async def fetch(self) -> None:
        """Fetch the keys now.

        Raises:
            FetchFailed: with the reason; the known keys stay.
        """
        url = self._jwks_url or await self._discover()
        document, headers = await self._fetcher.get(url)
        keys = self._read(document)
        if not keys:
            raise FetchFailed(f"{url} has no key for {', '.join(sorted(self._algorithms))}")
        is_any_gone = any(keys.get(kid) != key for kid, key in self._keys.items())
        self._keys = keys
        now = time.monotonic()
        self._fresh_until = now + _life_of(headers)
        self._stale_until = self._fresh_until + _STALE_SECONDS
        if is_any_gone:
            self._removed()

    async def _discover(self) -> str:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        document, _ = await self._fetcher.get(url)
        if document.get("issuer") != self.issuer:
            raise FetchFailed(f"{url} names another issuer, {str(document.get('issuer'))[:200]!r}")
        jwks_url = document.get("jwks_uri")
        if not isinstance(jwks_url, str) or self._fetcher.problem_of(jwks_url):
            raise FetchFailed(f"{url} has no usable jwks_uri")
        return jwks_url

    def _read(self, document: Mapping[str, Any]) -> dict[str, RemoteKey]:
        listed = document.get("keys")
        if not isinstance(listed, list):
            raise FetchFailed(f"the JWKS of {self.issuer} has no list of keys")
        keys: dict[str, RemoteKey] = {}
        ambiguous = set()
        for jwk in listed[:_MAX_KEYS]:
            if not isinstance(jwk, dict) or not isinstance(kid := jwk.get("kid"), str) or (key := key_of(jwk)) is None:
                continue
            if usable := key.algorithms & self._algorithms:
                same = keys.setdefault(kid, RemoteKey(key.public_key, usable))
                if same.public_key != key.public_key:
                    ambiguous.add(kid)
                keys[kid] = RemoteKey(same.public_key, same.algorithms | usable)
        return {kid: key for kid, key in keys.items() if kid not in ambiguous}


def key_of(jwk: Mapping[str, Any]) -> RemoteKey | None:
    """Return a signature key, None for others: encryption keys, unknown types, short RSA keys, private keys."""
    operations, declared = jwk.get("key_ops", ["verify"]), jwk.get("alg")
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations or "d" in jwk:
        return None
    try:
        match jwk.get("kty"):
            case "RSA" if len(base64url.decode(jwk["n"])) * 8 >= _MIN_RSA_BITS:
                public_key: Any = RSAKey.import_key(dict(jwk)).public_key
                fitting = {"RS256", "PS256"}
            case "EC":
                public_key, fitting = ECKey.import_key(dict(jwk)).public_key, {"ES256"}
            case "OKP":
                public_key, fitting = OKPKey.import_key(dict(jwk)).public_key, {"EdDSA"}
            case _:
                return None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if not _is_acceptable(public_key):
        return None
    return RemoteKey(public_key, frozenset(each for each in fitting if declared in (None, each)))


def _is_acceptable(public_key: Any) -> bool:
    if isinstance(public_key, rsa.RSAPublicKey):
        return bool(public_key.key_size >= _MIN_RSA_BITS)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return public_key.curve.name == "secp256r1"
    return isinstance(public_key, ed25519.Ed25519PublicKey)


def _life_of(headers: Mapping[str, str]) -> float:
    """Return for how many seconds an answer may be used (RFC 9111 section 5.2.2.1), within our bounds."""
    declared = _MAX_AGE.search(headers.get("cache-control", ""))
    return min(max(float(declared[1]), _MIN_LIFE), _MAX_LIFE) if declared else _DEFAULT_LIFE
