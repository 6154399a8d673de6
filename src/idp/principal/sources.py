"""Where a membership or role comes from: the values of the columns `source`. None is unknown: rows of version 1.0."""

from typing import Final

DEFAULT: Final = "default"  # of every new user
SEED: Final = "seed"  # a persona of `idp dev`
ADMIN: Final = "admin"  # an administrator, or a command
CLERK: Final = "clerk"  # `public_metadata.role` at Clerk
IMPORT: Final = "import"  # `idp import`
RULE: Final = "rule:"  # followed by the issuer, `#` and the claim


def of_rules(provider: str, claim: str = "") -> str:
    """Return the source of what the claim rules of an issuer give for a claim; without a claim, the common start."""
    return f"{RULE}{provider}#{claim}"
