"""Makes tokens that are good but for one thing, with the issuer's own key, so that only one check can refuse them."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

from idp_client.caller import User
from idp_client.testing.access_tokens import sign, standard_claims, user_claims
from idp_client.testing.signing import SigningKey, base64url, json_bytes

Sign = Callable[[bytes], bytes]


class Signs(Protocol):
    """What a forge needs of an issuer."""

    clock: Callable[[], float]
    audience: str

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> SigningKey: ...


class Forge:
    """Forges tokens of one issuer about a user that does not exist.

    Args:
        issuer: whose tokens they pretend to be.
    """

    def __init__(self, issuer: Signs) -> None:
        self.issuer = issuer.url
        self.audience = issuer.audience
        self.key = issuer.key
        self.another_key = SigningKey("ES256")
        self.now = int(issuer.clock())
        self._user = User(id=str(uuid4()), email="mallory@example.com", email_verified=True)

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return the header of an access token with changes; None leaves a member out."""
        return _changed({"alg": self.key.algorithm, "kid": self.key.kid, "typ": "at+jwt"}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an access token with changes; None leaves a claim out."""
        standard = standard_claims(self.issuer, self.audience, self.now, 1800)
        return _changed(standard | user_claims(self._user, ("openid", "read"), ("user",)), changes)

    def token(self, *, header: Any = None, claims: Any = None, key: SigningKey | None = None) -> str:
        """Return a token that is good but for what is given.

        Args:
            header: an object, or its exact bytes.
            claims: the same.
            key: signs it instead of the issuer's key.
        """
        header = self.header() if header is None else header
        return sign(key or self.key, self.claims() if claims is None else claims, header)

    def signed_by(self, signer: Sign, header: Mapping[str, Any]) -> str:
        """Return a token with a signature of another kind."""
        signing_input = f"{base64url(json_bytes(dict(header)))}.{base64url(json_bytes(self.claims()))}"
        return f"{signing_input}.{base64url(signer(signing_input.encode()))}"

    def parts(self) -> tuple[str, str, str]:
        """Return the three parts of a good token."""
        header, payload, signature = self.token().split(".")
        return header, payload, signature


def _changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | changes).items() if value is not None}
