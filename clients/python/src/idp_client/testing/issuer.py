"""An issuer on loopback for the tests of a service: users, credentials, revocation, key rotation and outages."""

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

from idp_client.caller import User
from idp_client.testing.access_tokens import issued, scopes_of, sign, standard_claims, user_claims
from idp_client.testing.credentials import Credentials, Issued
from idp_client.testing.endpoints import Endpoints
from idp_client.testing.keyring import KeyRing
from idp_client.testing.server import Server
from idp_client.testing.signing import Algorithm, SigningKey
from idp_client.verifier import OfflineVerifier

TOKEN_SECONDS = 1800
USER_SCOPES = ("openid", "profile", "email")


class Issuer:
    """An issuer with its server. Its URL is a loopback address, so no service with another issuer accepts its tokens.

    Args:
        audience: of its access tokens; default: its URL.
        algorithm: ES256 or RS256.
        clock: returns the seconds since 1970 that tokens are issued at.
    """

    def __init__(
        self, *, audience: str | None = None, algorithm: Algorithm = "ES256", clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self._keys = KeyRing(algorithm)
        self._credentials = Credentials()
        endpoints = Endpoints(
            lambda: self.url,
            lambda: self._keys.jwks,
            verdict=lambda credential, scopes: self._credentials.verdict(credential, scopes, clock()),
            introspect=lambda credential, scopes: self._credentials.introspect(credential, scopes, clock()),
        )
        self._server = Server(endpoints.routes)
        self.audience = audience or self.url

    @property
    def url(self) -> str:
        """The issuer's URL: `iss`, and the address of its server."""
        return self._server.url

    @property
    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys: the present one, the next one, and earlier ones."""
        return {"keys": self._keys.jwks}

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return self._keys.present

    def user(
        self,
        email: str | None = None,
        *,
        name: str | None = None,
        roles: Iterable[str] = ("user",),
        email_verified: bool = True,
    ) -> User:
        """Return a new user.

        Args:
            email: default: an address of no one else.
            name: such as "Ada Lovelace".
            roles: such as ("user", "admin").
            email_verified: whether the address is.
        """
        user_id = str(uuid4())
        return User(
            id=user_id,
            email=email or f"user-{user_id[:8]}@example.com",
            email_verified=email_verified,
            name=name,
            created_at=datetime.fromtimestamp(int(self.clock()), UTC),
            roles=tuple(roles),
        )

    def token(
        self,
        user: User,
        scopes: str | Iterable[str] = USER_SCOPES,
        roles: Iterable[str] | None = None,
        *,
        with_roles: bool = True,
        expires_in: float = TOKEN_SECONDS,
        **claims: Any,
    ) -> str:
        """Return an access token of a user.

        Args:
            user: of `user()`.
            scopes: of the token.
            roles: default: the user's.
            with_roles: False for a token that does not tell roles, as that of a user with too many of them.
            expires_in: seconds; negative for a token that has expired.
            claims: more claims, or other values; None leaves a claim out.
        """
        chosen = user.roles or () if roles is None else roles
        members = user_claims(user, scopes_of(scopes), tuple(chosen))
        if not with_roles:
            del members["roles"]
        return self._sign(user, members | claims, expires_in)

    def client_token(
        self, client_id: str, scopes: str | Iterable[str] = (), *, expires_in: float = TOKEN_SECONDS, **claims: Any
    ) -> str:
        """Return an access token of an OAuth client itself (RFC 9068 section 2.2): it has no user."""
        members = {"sub": client_id, "client_id": client_id, "scope": " ".join(scopes_of(scopes))}
        return self._sign(None, members | claims, expires_in)

    def api_key(self, user: User, scopes: str | Iterable[str] = (), *, name: str = "test key") -> str:
        """Return an API key of a user."""
        issued = Issued(kind="api_key", scopes=scopes_of(scopes), token_id=str(uuid4()), name=name, user=user)
        return self._credentials.add(f"idp_test_key_{secrets.token_hex(16)}", issued)

    def service_token(self, scopes: str | Iterable[str] = (), *, name: str = "test service") -> str:
        """Return a token of a service."""
        issued = Issued(kind="service_token", scopes=scopes_of(scopes), token_id=str(uuid4()), name=name)
        return self._credentials.add(f"idp_test_service_{secrets.token_hex(16)}", issued)

    def revoke(self, credential: str) -> None:
        """Revoke a credential. An access token stays valid offline until it expires, as with the service.

        Raises:
            LookupError: this issuer has not issued it.
        """
        self._credentials.revoke(credential)

    def deactivate(self, user: User) -> None:
        """Refuse all credentials of a user; access tokens as `revoke`."""
        self._credentials.deactivate(user)

    def rotate_keys(self, *, remove_old: bool = False) -> None:
        """Sign with the next key.

        Args:
            remove_old: remove the present key from the JWKS, as if it had been stolen. Its tokens are refused as soon
                as a service has fetched the keys again.
        """
        replaced = self._keys.rotate(remove=remove_old)
        if remove_old:
            self._credentials.withdraw_key(replaced.kid)

    def outage(self) -> AbstractContextManager[None]:
        """Answer every request with 503 for the length of a `with` block."""
        return self._server.outage()

    def verifier(self) -> OfflineVerifier:
        """Return an offline verifier of this issuer's tokens for its audience."""
        return OfflineVerifier(self.url, self.audience)

    def stop(self) -> None:
        """Close the server."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _sign(self, user: User | None, members: dict[str, Any], expires_in: float) -> str:
        now = int(self.clock())
        members = standard_claims(self.url, self.audience, now, int(expires_in)) | members
        claims = {name: value for name, value in members.items() if value is not None}
        expected = {"iss": self.url, "aud": self.audience, "nbf": now}
        record = issued(claims, user, kid=self.key.kid, expected=expected)
        return self._credentials.add(sign(self.key, claims), record)
