"""The catalogue of tokens that a service must refuse with 401. Each is bad in one way."""

from collections.abc import Callable, Mapping

from idp_client.testing import bad_claims, bad_signatures, bad_spellings
from idp_client.testing.forge import Forge, Signs

KINDS: Mapping[str, Callable[[Forge], str]] = bad_claims.KINDS | bad_signatures.KINDS | bad_spellings.KINDS


def bad_tokens(issuer: Signs) -> dict[str, str]:
    """Return a token of each bad kind, by its name.

    Args:
        issuer: whose tokens a service accepts.
    """
    forge = Forge(issuer)
    return {name: make(forge) for name, make in KINDS.items()}


def bad_token(issuer: Signs, name: str) -> str:
    """Return a token of one bad kind.

    Args:
        issuer: whose tokens a service accepts.
        name: of `KINDS`.
    """
    return KINDS[name](Forge(issuer))


def expected_code(name: str) -> str:
    """Return the code with which a service refuses a token of this kind."""
    if name in {"expired", "expired-long-ago"}:
        return "token_expired"
    return "development_token" if name == "development" else "token_invalid"
