"""Tokens that the issuer signed, with a wrong claim or type (RFC 9068 section 4; SEC-23 to SEC-25)."""

from collections.abc import Callable
from typing import Any

from idp_client.testing.forge import Forge

Make = Callable[[Forge], str]

_DAY = 86_400  # seconds


def _claims(**changes: Any) -> Make:
    return lambda forge: forge.token(claims=forge.claims(**changes))


def _times(**seconds: int) -> Make:
    """Set claims to times relative to now."""
    return lambda forge: forge.token(claims=forge.claims(**{name: forge.now + by for name, by in seconds.items()}))


def _typ(typ: str | None) -> Make:
    return lambda forge: forge.token(header=forge.header(typ=typ))


def _id_token(forge: Forge) -> str:
    claims = forge.claims(aud="some-app", nonce="n", uid=None, client_id=None, scope=None, roles=None)
    return forge.token(header=forge.header(typ="JWT"), claims=claims)


KINDS: dict[str, Make] = {
    "expired": _times(iat=-2 * _DAY, exp=-_DAY),
    "expired-long-ago": _claims(iat=1, exp=2),
    "not-yet-valid": _times(nbf=_DAY, exp=2 * _DAY),
    "issued-in-the-future": _times(iat=_DAY, exp=2 * _DAY),
    "expires-before-it-is-issued": _times(iat=0, exp=0),
    "without-exp": _claims(exp=None),
    "without-iat": _claims(iat=None),
    "exp-is-text": _claims(exp="9999999999"),
    "exp-is-true": _claims(exp=True),
    "exp-is-negative": _claims(exp=-1),
    "exp-beyond-all-dates": _claims(exp=10**30),
    "another-issuer": _claims(iss="https://attacker.invalid"),
    "without-issuer": _claims(iss=None),
    "issuer-with-a-slash": lambda forge: forge.token(claims=forge.claims(iss=forge.issuer + "/")),
    "issuer-as-prefix": lambda forge: forge.token(claims=forge.claims(iss=forge.issuer + ".attacker.invalid")),
    "another-audience": _claims(aud="https://another-service.invalid"),
    "other-audiences": _claims(aud=["https://another-service.invalid", "https://third.invalid"]),
    "without-audience": _claims(aud=None),
    "audience-with-a-slash": lambda forge: forge.token(claims=forge.claims(aud=forge.audience + "/")),
    "id-token": _id_token,
    "id-token-for-the-audience": _typ("JWT"),
    "logout-token": _typ("logout+jwt"),
    "without-typ": _typ(None),
    "without-subject": _claims(sub=None),
    "subject-is-not-uid": _claims(sub="another-user"),
    "subject-with-a-null": _claims(sub="a\x00b", uid="a\x00b"),
    "without-jti": _claims(jti=None),
    "roles-are-text": _claims(roles="admin"),
    "development": _claims(idp_env="development"),
}
