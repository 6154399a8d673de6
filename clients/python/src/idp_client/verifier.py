"""Offline verification of an issuer's access tokens (RFC 9068 section 4, RFC 8725).

A revoked token, or one of a disabled user, is accepted until it expires (30 minutes by default). If that is too long,
verify online (`AuthClient`).
"""

import threading
import time
from hashlib import sha256

from idp_client.caller import Caller
from idp_client.claims import MAX_LEEWAY, AccessToken, Policy, caller_of, check, read
from idp_client.compact import NotThreeParts, Parser, UnverifiedJwt
from idp_client.credentials import MAX_LENGTH
from idp_client.errors import NotOurs, TokenRejected
from idp_client.json_object import Malformed
from idp_client.jwks import JwksCache
from idp_client.keys import BadSignature, VerificationKey

REMEMBERED_TOKENS = 10_000  # verified ones, about 2 kB each; the oldest is evicted first


class OfflineVerifier:
    """Verifies ES256 and RS256 access tokens (`at+jwt`) with the issuer's public keys.

    Args:
        issuer: the exact `iss`; IDP_PUBLIC_URL of idp.
        audience: `aud` must be or contain it; default: the issuer.
        keys: default: the issuer's /.well-known/jwks.json.
        leeway: allowed clock difference (seconds, at most 60).
        allow_development: accept tokens of `idp dev`. Only for a developer's machine: every `idp dev` can
            issue them.

    Raises:
        ValueError: the leeway exceeds 60 seconds.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | None = None,
        *,
        keys: JwksCache | None = None,
        leeway: float = 10.0,
        allow_development: bool = False,
    ) -> None:
        if not 0 <= leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY:.0f} seconds")
        self._policy = Policy(issuer, audience or issuer, leeway, allow_development)
        self._keys = keys or JwksCache(f"{issuer.rstrip('/')}/.well-known/jwks.json")
        self._parser = Parser()
        self._verified: dict[bytes, tuple[Caller, str, VerificationKey, float]] = {}
        self._lock = threading.Lock()

    async def verify(self, token: str) -> Caller:
        """Verify a token and return its caller.

        Raises:
            NotOurs: it is not a JWT, or of another issuer.
            TokenRejected: it is of this issuer and invalid; `reason` says why.
            TokenExpired: the token has expired.
            DevelopmentToken: a token of `idp dev`, and `allow_development` is off.
            AuthUnavailable: its key is unknown and the issuer is unreachable.
        """
        encoded = _encoded(token)
        digest = sha256(encoded).digest()  # credentials are not kept in memory
        caller = self._cached(digest)
        if caller is not None:
            return caller
        jwt, claims, kid = self._read(encoded)
        key = self._keys.ready(kid) or await self._keys.key(kid)
        return self._accept(jwt, claims, key, digest)

    def verify_sync(self, token: str) -> Caller:
        """Same as `verify`, for threads."""
        encoded = _encoded(token)
        digest = sha256(encoded).digest()
        caller = self._cached(digest)
        if caller is not None:
            return caller
        jwt, claims, kid = self._read(encoded)
        return self._accept(jwt, claims, self._keys.key_sync(kid), digest)

    def _cached(self, digest: bytes) -> Caller | None:
        """Return the cached caller of a token that is still valid."""
        entry = self._verified.get(digest)
        if entry is None:
            return None
        caller, kid, key, good_until = entry
        if time.time() < good_until and self._keys.ready(kid) is key:
            return caller
        self._verified.pop(digest, None)
        return None

    def _read(self, token: bytes) -> tuple[UnverifiedJwt, AccessToken, str]:
        try:
            jwt = self._parser.parse(token)
        except NotThreeParts as error:
            raise NotOurs("not a JWT") from error
        except Malformed as error:
            raise TokenRejected(str(error)) from error
        claims, header = read(jwt.payload, self._policy.issuer), jwt.header
        if not isinstance(header.kid, str) or not _is_access_token(header.typ):
            raise TokenRejected("typ must be at+jwt, and kid is required")
        return jwt, claims, header.kid

    def _accept(self, jwt: UnverifiedJwt, claims: AccessToken, key: VerificationKey, digest: bytes) -> Caller:
        if jwt.header.alg != key.algorithm:  # the key determines the algorithm, not the token (SEC-20)
            raise TokenRejected(f"this key signs with {key.algorithm}")
        try:
            key.check(jwt.signing_input, jwt.signature)
        except BadSignature as error:
            raise TokenRejected(str(error)) from error
        good_until = check(claims, self._policy, time.time())
        caller = caller_of(claims, jwt.payload)
        self._parser.remember(jwt)
        self._remember(digest, (caller, jwt.header.kid, key, good_until))
        return caller

    def _remember(self, digest: bytes, entry: tuple[Caller, str, VerificationKey, float]) -> None:
        with self._lock:  # no other thread may add an entry during eviction
            if len(self._verified) >= REMEMBERED_TOKENS:
                self._verified.pop(next(iter(self._verified)), None)
            self._verified[digest] = entry


def _encoded(token: str) -> bytes:
    if len(token) > MAX_LENGTH:
        raise TokenRejected(f"longer than {MAX_LENGTH} characters")
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise TokenRejected("not ASCII") from None


def _is_access_token(typ: object) -> bool:
    return typ == "at+jwt" or str(typ).lower() in {"at+jwt", "application/at+jwt"}
