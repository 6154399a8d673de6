"""Proof Key for Code Exchange, method S256 only (RFC 7636; SEC-35)."""

import hashlib
import re

from idp.signing import base64url

METHOD = "S256"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")  # section 4.1
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # section 4.2: a SHA-256 digest in base64url


def is_challenge(text: str) -> bool:
    """Whether a `code_challenge` has the form of S256."""
    return bool(_CHALLENGE.match(text))


def challenge_of(verifier: str) -> str | None:
    """Return the challenge of a `code_verifier`; None if it is malformed."""
    if not _VERIFIER.match(verifier):
        return None
    return base64url.encode(hashlib.sha256(verifier.encode()).digest())
