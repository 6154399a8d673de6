"""Access tokens of one issuer, verified without asking it (RFC 9068 section 4, RFC 8725).

A token that was revoked, or whose user was disabled, stays good here until it expires (30 minutes by default). Where
that is too long, ask the service (`AuthClient`).
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

REMEMBERED_TOKENS = 10_000  # good ones, about 2 kB each; the oldest goes first


class OfflineVerifier:
    """Verifies ES256 and RS256 access tokens (`at+jwt`) with the issuer's public keys.

    Args:
        issuer: the exact `iss`; IDP_PUBLIC_URL of the service.
        audience: what `aud` must be or hold; the issuer unless the service sets another.
        keys: where the keys come from; the issuer's /.well-known/jwks.json by default.
        leeway: seconds by which clocks may differ, at most 60.
        allow_development: take tokens that `idp dev` made. Only for a developer's own machine: every
            running `idp dev` can make them.

    Raises:
        ValueError: a leeway beyond 60 seconds.
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
            raise ValueError(f"leeway is 0 to {MAX_LEEWAY:.0f} seconds")
        self._policy = Policy(issuer, audience or issuer, leeway, allow_development)
        self._keys = keys or JwksCache(f"{issuer.rstrip('/')}/.well-known/jwks.json")
        self._parser = Parser()
        self._remembered: dict[bytes, tuple[Caller, str, VerificationKey, float]] = {}
        self._lock = threading.Lock()

    async def verify(self, token: str) -> Caller:
        """Return the caller that a token names.

        Raises:
            NotOurs: no JWT, or one of another issuer.
            TokenRejected: it names this issuer and something about it does not hold; `reason` says what.
            TokenExpired: it ended.
            DevelopmentToken: `idp dev` made it, and `allow_development` is off.
            AuthUnavailable: its key is not known and the issuer cannot be asked.
        """
        encoded = _encoded(token)
        digest = sha256(encoded).digest()  # so that memory holds no credentials
        caller = self._recall(digest)
        if caller is not None:
            return caller
        jwt, claims, kid = self._read(encoded)
        key = self._keys.ready(kid) or await self._keys.key(kid)
        return self._admit(jwt, claims, key, digest)

    def verify_sync(self, token: str) -> Caller:
        """The same as `verify`, for threads."""
        encoded = _encoded(token)
        digest = sha256(encoded).digest()
        caller = self._recall(digest)
        if caller is not None:
            return caller
        jwt, claims, kid = self._read(encoded)
        return self._admit(jwt, claims, self._keys.key_sync(kid), digest)

    def _recall(self, digest: bytes) -> Caller | None:
        """Return the caller of a token that verified before, if it would still verify."""
        entry = self._remembered.get(digest)
        if entry is None:
            return None
        caller, kid, key, good_until = entry
        if time.time() < good_until and self._keys.ready(kid) is key:
            return caller
        self._remembered.pop(digest, None)
        return None

    def _read(self, token: bytes) -> tuple[UnverifiedJwt, AccessToken, str]:
        try:
            jwt = self._parser.parse(token)
        except NotThreeParts as error:
            raise NotOurs("no JWT") from error
        except Malformed as error:
            raise TokenRejected(str(error)) from error
        claims, header = read(jwt.payload, self._policy.issuer), jwt.header
        if not isinstance(header.kid, str) or not _is_access_token(header.typ):
            raise TokenRejected("typ must be at+jwt, and kid must be there")
        return jwt, claims, header.kid

    def _admit(self, jwt: UnverifiedJwt, claims: AccessToken, key: VerificationKey, digest: bytes) -> Caller:
        if jwt.header.alg != key.algorithm:  # the key says how it signs, never the token (SEC-20)
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
        with self._lock:  # no other thread may add to it while the oldest is looked up
            if len(self._remembered) >= REMEMBERED_TOKENS:
                self._remembered.pop(next(iter(self._remembered)), None)
            self._remembered[digest] = entry


def _encoded(token: str) -> bytes:
    if len(token) > MAX_LENGTH:
        raise TokenRejected(f"longer than {MAX_LENGTH} characters")
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise TokenRejected("not ASCII") from None


def _is_access_token(typ: object) -> bool:
    return typ == "at+jwt" or str(typ).lower() in {"at+jwt", "application/at+jwt"}
