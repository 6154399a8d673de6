"""What the request presented, parsed once (C-24).

One explicit credential at most: `Authorization: Bearer` or `X-API-Key`. Anything in those headers, even an empty or
a foreign one, is a presented credential: an authenticator owns it or it is refused, never passed over (SEC-13, SEC-14).
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from idp.errors import AmbiguousCredentials, CredentialUnrecognised, Unauthenticated
from idp.signing.compact import Malformed, UnverifiedJwt, parse

# In front of what came under another scheme, or under none, so that it can equal no credential of ours.
_FOREIGN_SCHEME = "\x00"
# Schemes that clients of other services use. Only these are repeated in an answer: in `Authorization: <secret>`, the
# first word is the secret.
_KNOWN_SCHEMES = ("ApiKey", "Api-Key", "Basic", "Digest", "DPoP", "JWT", "Key", "Negotiate", "OAuth", "Token")
# Headers in which other services take a key or a token: without hyphens, underscores and a leading X.
_UNREAD_HEADERS = frozenset({
    "accesskey", "accesstoken", "apikey", "apitoken", "authkey", "authorisation", "authorization", "authtoken",
    "authentication", "bearer", "bearertoken", "key", "secretkey", "servicetoken", "token",
})  # fmt: skip
_ACCEPTED_HEADERS = "`Authorization: Bearer …` or, for a key, `X-API-Key: …`"
Headers = Iterable[tuple[bytes, bytes]]


class Presented(Struct, frozen=True):
    """What the caller presented.

    Attributes:
        token: the explicit credential as sent, None if there was none. An empty text is a credential, and a bad one.
        jwt: the same, taken apart, where it has the form of a JWT; nothing in it has been verified.
        cookies: the cookies, for a session authenticator. Beside an explicit credential they are ignored.
        headers: all headers by lower-case name, the last one winning; for authenticators that read one of their own.
    """

    token: str | None = None
    jwt: UnverifiedJwt | None = None
    cookies: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Presented(explicit={self.token is not None}, jwt={self.jwt is not None})"


def from_token(token: str) -> Presented:
    """Return what a caller of `/auth/validate` asks about: an explicit credential and nothing else."""
    return Presented(token=token, jwt=_as_jwt(token))


def from_headers(raw: Headers) -> Presented:
    """Parse the request's headers.

    Args:
        raw: ASGI header pairs, names in lower case.

    Raises:
        AmbiguousCredentials: two explicit credentials that differ.
    """
    headers: dict[str, str] = {}
    explicit: set[str] = set()
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1").strip()
        headers[name] = f"{headers[name]}; {value}" if name == "cookie" and name in headers else value
        if name == "authorization":
            explicit.add(_bearer(value))
        elif name == "x-api-key":
            explicit.add(value)
    if len(explicit) > 1:
        raise AmbiguousCredentials
    if explicit:
        token = explicit.pop()
        return Presented(token=token, jwt=_as_jwt(token), headers=headers)
    return Presented(cookies=_cookies(headers.get("cookie", "")), headers=headers)


def cookies_only(presented: Presented) -> Presented:
    """Return what a browser sent by itself, where the explicit credential beside it turned out to be no good."""
    return Presented(cookies=_cookies(presented.headers.get("cookie", "")), headers=presented.headers)


def unrecognised(presented: Presented) -> CredentialUnrecognised:
    """Return the refusal of a credential that no authenticator owns; it names an unsupported scheme."""
    token = presented.token or ""
    if not token.startswith(_FOREIGN_SCHEME):
        return CredentialUnrecognised()
    first = token.removeprefix(_FOREIGN_SCHEME).partition(" ")[0].lower()
    scheme = next((known for known in _KNOWN_SCHEMES if known.lower() == first), None)
    seen = f"Unsupported scheme `{scheme}`" if scheme else "The Authorization header names no supported scheme"
    return CredentialUnrecognised(
        f"{seen}; send `Authorization: Bearer …`.",
        remedy=f"Put the word Bearer and a space in front of the token. Accepted are {_ACCEPTED_HEADERS}.",
    )


def unauthenticated(presented: Presented) -> Unauthenticated:
    """Return the refusal of a request without a credential; it names a header that looks like one and is not read."""
    names = presented.headers.keys() - {"authorization", "x-api-key"}
    unread = next((name for name in sorted(names) if _plain(name) in _UNREAD_HEADERS), None)
    if unread is None:
        return Unauthenticated()
    return Unauthenticated(
        f"The header `{unread.title()}` is not read; send {_ACCEPTED_HEADERS}.",
        remedy=f"Move the credential to {_ACCEPTED_HEADERS}.",
    )


def _plain(name: str) -> str:
    return name.removeprefix("x-").removeprefix("x_").replace("-", "").replace("_", "")


def _bearer(value: str) -> str:
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else _FOREIGN_SCHEME + value


def _as_jwt(token: str) -> UnverifiedJwt | None:
    if "." not in token:
        return None
    try:
        return parse(token)
    except Malformed:
        return None


def _cookies(header: str) -> dict[str, str]:
    """Take the header apart by hand (RFC 6265bis section 5.8.3): an odd cookie of somebody else hides none of ours."""
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}
