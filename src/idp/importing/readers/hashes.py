"""Password hashes in the modular forms that `users/password_worker.py` verifies."""

import base64


def pbkdf2(digest: str, iterations: int, salt: str, value: str) -> str:
    """Return `$pbkdf2-sha256$i=…$salt$hash`.

    Args:
        digest: `sha256` or `sha512`.
        iterations: of the hash.
        salt: in Base64.
        value: the hash in Base64.
    """
    return f"$pbkdf2-{digest}$i={iterations}${unpadded(salt)}${unpadded(value)}"


def argon2(type_: str, *, version: int, memory: int, passes: int, lanes: int, salt: str, value: str) -> str:
    """Return a PHC string of Argon2; salt and hash are in Base64."""
    parameters = f"v={version}$m={memory},t={passes},p={lanes}"
    return f"$argon2{type_}${parameters}${unpadded(salt)}${unpadded(value)}"


def unpadded(text: str) -> str:
    """Return standard Base64 without padding.

    Raises:
        ValueError: it is not Base64.
    """
    return base64.b64encode(base64.b64decode(text, validate=True)).decode().rstrip("=")
