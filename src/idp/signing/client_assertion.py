"""Assertions by which clients authenticate with a key of their own (RFC 7523 section 3, `private_key_jwt`; SEC-54).

The keys are registered, or fetched from the client's `jwks_uri` under the limits of SEC-66, so that a client replaces
its keys without telling us. A use is recorded by the caller, after everything here.
"""

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from idp import clock
from idp.errors import DependencyUnavailable, TokenExpired
from idp.signing import raw_signature
from idp.signing.compact import UnverifiedJwt, parse
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import check_signature, check_times
from idp.signing.remote_jwks import RemoteJwks, RemoteKey, key_of
from idp.signing.signed_jwt import media_type

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS256", "PS256", "ES256")
MAX_KEYS = 20
_MAX_LIFE = timedelta(hours=1)  # as Authlib makes them; each is used once (SEC-54)
_LEEWAY_SECONDS = 30  # for the client's clock
_TYPES = frozenset({"jwt", "client-authentication+jwt"})
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_MAX_TEXT = 512
_MAX_CLIENTS = 1000  # whose `jwks_uri` is kept in memory


class VerifiedAssertion(Struct, frozen=True):
    """A verified assertion. It may be used once: `digest` is recorded until `expires_at`."""

    digest: str
    expires_at: datetime


class ClientAssertions:
    """Verifies assertions.

    Args:
        fetcher: fetches clients' keys.
        audiences: accepted values of `aud`: the issuer and the token endpoint's URL.
    """

    def __init__(self, fetcher: Fetcher, audiences: Collection[str]) -> None:
        self._fetcher = fetcher
        self._audiences = frozenset(audiences)
        self._remote: dict[str, RemoteJwks] = {}

    async def verify(
        self, unverified: UnverifiedJwt, client_id: str, *, jwks: str | None, jwks_uri: str | None
    ) -> VerifiedAssertion:
        """Verify an assertion of a client.

        Args:
            unverified: the assertion.
            client_id: whose it must be.
            jwks: the client's registered keys, JSON.
            jwks_uri: where its keys are instead.

        Raises:
            ValueError: what is wrong with it; the text may be shown to the client.
        """
        if media_type(unverified.header.get("typ", "JWT")) not in _TYPES:
            raise ValueError("typ is not JWT")
        if jwks_uri is not None:
            await self._check_remote(unverified, jwks_uri)
        else:
            _check_registered(unverified, _keys_of(jwks or "{}"))
        return self._check_claims(unverified.claims, client_id)

    def _check_claims(self, claims: Mapping[str, Any], client_id: str) -> VerifiedAssertion:
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise ValueError("iss and sub must be the client_id")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        # All must be ours: an assertion for another server too could come from there.
        if not audiences or not all(isinstance(each, str) and each in self._audiences for each in audiences):
            raise ValueError(f"aud must be {min(self._audiences, key=len)}")
        try:
            expires_at = check_times(claims, leeway=_LEEWAY_SECONDS).expires_at
        except TokenExpired:
            raise ValueError("it has expired") from None
        leeway = timedelta(seconds=_LEEWAY_SECONDS)
        if expires_at > clock.now() + _MAX_LIFE + leeway:
            raise ValueError("exp is more than an hour ahead")
        identifier = claims.get("jti")
        if not isinstance(identifier, str) or not 0 < len(identifier) <= _MAX_TEXT:
            raise ValueError("jti is required")
        digest = hashlib.sha256(f"{client_id}\x00{identifier}".encode()).hexdigest()
        return VerifiedAssertion(digest, expires_at + leeway)

    async def _check_remote(self, unverified: UnverifiedJwt, jwks_uri: str) -> None:
        keys = self._remote.get(jwks_uri)
        if keys is None:
            if len(self._remote) >= _MAX_CLIENTS:
                del self._remote[next(iter(self._remote))]
            keys = RemoteJwks(jwks_uri, self._fetcher, jwks_url=jwks_uri, algorithms=ALGORITHMS)
            self._remote[jwks_uri] = keys
        try:
            await check_signature(unverified, keys)
        except DependencyUnavailable:
            raise ValueError("the keys cannot be fetched from jwks_uri now") from None


def client_of(assertion: str, *, expected: str | None) -> tuple[UnverifiedJwt, str]:
    """Return a parsed assertion, and the client that it claims to be of.

    Args:
        assertion: as presented.
        expected: the `client_id` beside it, if any.

    Raises:
        ValueError: it cannot be read, or is of another client.
    """
    unverified = parse(assertion)
    client_id = unverified.claims.get("iss")
    if (
        not isinstance(client_id, str)
        or not 0 < len(client_id) <= _MAX_TEXT
        or "\x00" in client_id
        or expected not in {None, client_id}
    ):
        raise ValueError("iss must be the client_id")
    return unverified, client_id


def problem_of_keys(jwks: Mapping[str, Any]) -> str | None:
    """Return why a client cannot register these keys, None if it can."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_KEYS:
        return f"Send a JWK set: an object with 1 to {MAX_KEYS} `keys`."
    if any(isinstance(each, Mapping) and any(name in each for name in _PRIVATE) for each in listed):
        return "It has a private or symmetric key. Send public keys only, and replace this one."
    if b"\\u0000" in msgspec.json.encode(jwks):
        return "It has a null character."
    if not _usable_keys(jwks):
        return "It has no key for signatures: RSA with 2048 bits or more, or EC on P-256."
    return None


@functools.lru_cache(maxsize=256)
def _keys_of(jwks: str) -> Sequence[tuple[object, RemoteKey]]:
    return _usable_keys(msgspec.json.decode(jwks, type=dict[str, Any]))


def _usable_keys(jwks: Mapping[str, Any]) -> Sequence[tuple[object, RemoteKey]]:
    """Return the keys that verify assertions, with their ids."""
    found = []
    for jwk in jwks.get("keys", ()):
        key = key_of(jwk) if isinstance(jwk, Mapping) else None
        if key is not None and (algorithms := key.algorithms & frozenset(ALGORITHMS)):
            found.append((jwk.get("kid"), RemoteKey(key.public_key, algorithms)))
    return found


def _check_registered(unverified: UnverifiedJwt, keys: Sequence[tuple[object, RemoteKey]]) -> None:
    """Verify the signature with the key that the assertion names, or with any if it names none."""
    kid, algorithm = unverified.header.get("kid"), unverified.header.get("alg")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None):
        raise ValueError("alg and kid must be text")  # noqa: TRY004  a claim, not a type
    fitting = [key for name, key in keys if algorithm in key.algorithms and (kid is None or name in {None, kid})]
    for key in fitting:
        try:
            raw_signature.check(unverified.signed, unverified.signature, public_key=key.public_key, algorithm=algorithm)
        except ValueError:
            continue
        return
    raise ValueError("no registered key verifies it" if fitting else "no registered key fits its kid and alg")
