"""The credentials that the issuer for tests has issued, and its verdicts on any credential (C-01)."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from idp_client.caller import User
from idp_client.token_info import TokenInfo


class Issued(Struct, kw_only=True):
    """An issued credential.

    Attributes:
        kind: "user" or "client" for an access token, "api_key" or "service_token".
        expires: seconds since 1970; None for never.
        kid: of the key that signed an access token.
        error: why it is not valid, as a code of TokenInfo.
        for_resource: an access token for another audience than the issuer: its service verifies it offline or
            introspects it, and /auth/validate refuses it.
    """

    kind: str
    scopes: tuple[str, ...]
    token_id: str
    name: str | None = None
    user: User | None = None
    expires: float | None = None
    kid: str | None = None
    error: str | None = None
    for_resource: bool = False


class Credentials:
    """All issued credentials of one issuer, by their text."""

    def __init__(self) -> None:
        self._issued: dict[str, Issued] = {}
        self._inactive: set[str] = set()
        self._withdrawn_keys: set[str] = set()

    def add(self, credential: str, issued: Issued) -> str:
        """Record a credential, and return it."""
        self._issued[credential] = issued
        return credential

    def find(self, credential: str) -> Issued | None:
        """Return what was issued; None for a credential of nobody."""
        return self._issued.get(credential)

    def revoke(self, credential: str) -> None:
        """Revoke a credential.

        Raises:
            LookupError: this issuer has not issued it.
        """
        issued = self._issued.get(credential)
        if issued is None:
            raise LookupError("this issuer has not issued this credential")
        issued.error = "token_revoked"

    def deactivate(self, user: User) -> None:
        """Refuse all credentials of a user."""
        self._inactive.add(user.id)

    def withdraw_key(self, kid: str) -> None:
        """Refuse all tokens that this key signed."""
        self._withdrawn_keys.add(kid)

    def verdict(self, credential: str, required_scopes: Iterable[str], now: float) -> TokenInfo:
        """Return what POST /auth/validate answers about a credential."""
        issued = self._issued.get(credential)
        if issued is not None and issued.for_resource:
            return _refused("token_invalid")
        return self.introspect(credential, required_scopes, now)

    def introspect(self, credential: str, required_scopes: Iterable[str], now: float) -> TokenInfo:
        """Return the same for a service that may introspect: tokens for its own audience are valid."""
        issued = self._issued.get(credential)
        if issued is None:
            return _refused("token_invalid" if credential.count(".") == 2 else "token_not_found")
        error = self._error(issued, now)
        if error is None and not set(required_scopes) <= set(issued.scopes):
            error = "insufficient_scopes"
        if error is not None:
            return _refused(error)
        return TokenInfo(
            valid=True,
            kind="service_token" if issued.kind == "client" else issued.kind,
            scopes=list(issued.scopes),
            token_id=issued.token_id,
            name=issued.name,
            user=_with_lists(issued.user),
            expires_at=None if issued.expires is None else datetime.fromtimestamp(issued.expires, UTC),
        )

    def _error(self, issued: Issued, now: float) -> str | None:
        if issued.error is not None:
            return issued.error
        if issued.kid in self._withdrawn_keys:
            return "token_invalid"
        if issued.expires is not None and issued.expires <= now:
            return "token_expired"
        if issued.user is not None and issued.user.id in self._inactive:
            return "user_inactive"
        return None


def _refused(code: str) -> TokenInfo:
    return TokenInfo(valid=False, error=code, detail=f"refused by the issuer for tests: {code}")


def _with_lists(user: User | None) -> User | None:
    """The service always tells teams and domains, if only that there are none."""
    if user is None:
        return None
    return msgspec.structs.replace(user, teams=user.teams or (), domains=user.domains or (), roles=user.roles or ())
