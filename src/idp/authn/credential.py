"""Parse the credential of a request, once (C-24).

At most one explicit credential: `Authorization: Bearer` or `X-API-Key`. Any value in those headers, even an empty one
or another scheme, is a credential: an authenticator owns it, or it is rejected, never ignored (SEC-13, SEC-14).
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from idp.errors import AmbiguousCredentials, CredentialUnrecognised, Unauthenticated
from idp.signing.compact import Malformed, UnverifiedJwt, parse

# Prefix of values with another scheme or none, so that they match no credential of the service.
_FOREIGN_SCHEME = "\x00"
# Schemes that an error message may repeat; any other first word may be a secret (`Authorization: <secret>`).
_KNOWN_SCHEMES = ("ApiKey", "Api-Key", "Basic", "Digest", "DPoP", "JWT", "Key", "Negotiate", "OAuth", "Token")
# Credential headers of other services, without hyphens, underscores and a leading X.
_UNREAD_HEADERS = frozenset({
    "accesskey", "accesstoken", "apikey", "apitoken", "authkey", "authorisation", "authorization", "authtoken",
    "authentication", "bearer", "bearertoken", "key", "secretkey", "servicetoken", "token",
})  # fmt: skip
_ACCEPTED_HEADERS = "`Authorization: Bearer …` or, for a key, `X-API-Key: …`"
Headers = Iterable[tuple[bytes, bytes]]


class Presented(Struct, frozen=True):
    """The credential of a request, unverified.

    Attributes:
        token: the explicit credential as sent, None if absent. An empty string is an invalid credential.
        jwt: the parsed token if it has the form of a JWT, unverified.
        cookies: the cookies; empty beside an explicit credential.
        headers: all headers by lower-case name, the last value of each; for authenticators with custom headers.
    """

    token: str | None = None
    jwt: UnverifiedJwt | None = None
    cookies: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}

    @property
    def form(self) -> str:
        """What was presented, without its content, for explanations."""
        if self.token is None:
            return f"{len(self.cookies)} cookies, no token" if self.cookies else "no token"
        if self.jwt is not None:
            return "JWT"
        return "another scheme" if self.token.startswith(_FOREIGN_SCHEME) else "opaque text"

    def __repr__(self) -> str:
        return f"Presented(explicit={self.token is not None}, jwt={self.jwt is not None})"


def from_token(token: str) -> Presented:
    """Return the credential of a `/auth/validate` request: an explicit token only."""
    return Presented(token=token, jwt=_as_jwt(token))


def from_headers(raw: Headers) -> Presented:
    """Parse the request's headers.

    Args:
        raw: ASGI header pairs, names in lower case.

    Raises:
        AmbiguousCredentials: two different explicit credentials.
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
    """Return only the cookies, after the explicit credential was rejected."""
    return Presented(cookies=_cookies(presented.headers.get("cookie", "")), headers=presented.headers)


def unrecognised(presented: Presented) -> CredentialUnrecognised:
    """Return the error for a credential without an owner; it names an unsupported scheme."""
    token = presented.token or ""
    if not token.startswith(_FOREIGN_SCHEME):
        return CredentialUnrecognised()
    first = token.removeprefix(_FOREIGN_SCHEME).partition(" ")[0].lower()
    scheme = next((known for known in _KNOWN_SCHEMES if known.lower() == first), None)
    seen = f"Unsupported scheme `{scheme}`" if scheme else "The Authorization header has no supported scheme"
    return CredentialUnrecognised(
        f"{seen}; send `Authorization: Bearer …`.",
        remedy=f"Put `Bearer` and a space before the token. Accepted: {_ACCEPTED_HEADERS}.",
    )


def unauthenticated(presented: Presented) -> Unauthenticated:
    """Return the error for a request without a credential; it names a similar header that is not read."""
    names = presented.headers.keys() - {"authorization", "x-api-key"}
    unread = next((name for name in sorted(names) if _normalized_name(name) in _UNREAD_HEADERS), None)
    if unread is None:
        return Unauthenticated()
    return Unauthenticated(
        f"The header `{unread.title()}` is not read; send {_ACCEPTED_HEADERS}.",
        remedy=f"Move the credential to {_ACCEPTED_HEADERS}.",
    )


def _normalized_name(name: str) -> str:
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
    """Parse leniently (RFC 6265bis section 5.8.3), so that another application's malformed cookie hides none of
    ours."""
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}
