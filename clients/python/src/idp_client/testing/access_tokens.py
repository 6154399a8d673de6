"""Access tokens of the issuer for tests: their claims, their signature, and whether they are any good."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from idp_client.caller import User
from idp_client.testing.credentials import Issued
from idp_client.testing.signing import SigningKey, base64url, json_bytes


def scopes_of(scopes: str | Iterable[str]) -> tuple[str, ...]:
    """Return scopes; a text holds them separated by spaces (RFC 6749 section 3.3)."""
    return tuple(scopes.split() if isinstance(scopes, str) else scopes)


def standard_claims(issuer: str, audience: str, now: int, expires_in: int) -> dict[str, Any]:
    """Return the claims that every token has (RFC 9068 section 2.2).

    Args:
        issuer: `iss`.
        audience: `aud`.
        now: seconds since 1970.
        expires_in: seconds; for a token that has expired, `iat` is a minute before `exp`.
    """
    return {
        "iat": min(now, now + expires_in - 60),
        "exp": now + expires_in,
        "jti": str(uuid4()),
        "iss": issuer,
        "aud": audience,
    }


def user_claims(user: User, scopes: tuple[str, ...], roles: tuple[str, ...]) -> dict[str, Any]:
    """Return the claims about a user."""
    return {
        "sub": user.id,
        "uid": user.id,
        "client_id": "idp",
        "scope": " ".join(scopes),
        "email": user.email,
        "email_verified": user.email_verified,
        "roles": list(roles),
    }


def sign(key: SigningKey, claims: Any, header: Any = None) -> str:
    """Return a compact token.

    Args:
        key: signs it.
        claims: an object, or its exact bytes.
        header: the same; default: that of an access token.
    """
    header = header if header is not None else {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"}
    signing_input = f"{base64url(json_bytes(header))}.{base64url(json_bytes(claims))}"
    return f"{signing_input}.{base64url(key.sign(signing_input.encode()))}"


def issued(claims: dict[str, Any], user: User | None, *, kid: str, expected: dict[str, Any]) -> Issued:
    """Return the record of a token, with an error if its claims are not those of an accepted token.

    Args:
        claims: of the token.
        user: of the token; None if it is of an OAuth client itself.
        kid: of the key that signed it.
        expected: `iss` and `aud` of accepted tokens, and `nbf`, the latest time from which they may be valid.
    """
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    good = (
        claims.get("iss") == expected["iss"]
        and expected["aud"] in audiences
        and claims.get("nbf", 0) <= expected["nbf"]
        and "idp_env" not in claims
    )
    return Issued(
        kind="client" if user is None else "user",
        scopes=tuple(str(claims.get("scope", "")).split()),
        token_id=str(claims.get("jti")),
        name=claims.get("client_id") if user is None else None,
        user=user,
        expires=claims.get("exp"),
        kid=kid,
        error=None if good else "token_invalid",
        for_resource=expected["iss"] not in audiences,
    )
