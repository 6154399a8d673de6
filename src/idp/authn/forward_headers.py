"""Headers that tell an app behind a proxy who is calling (`GET /auth/forward`).

Values are printable ASCII: everything else, and `%` and `,`, is percent-encoded UTF-8 (RFC 3986 section 2.1), so that
no name can add a header or an item to a list. A list that is too long is left out whole, because a part of it would
mislead, and named in `X-Auth-Omitted`.
"""

from collections.abc import Iterable
from urllib.parse import quote

from idp.principal.model import Principal

_SAFE = " !#$&'()*+-./:;<=>?@[]^_`{|}~"
MAX_BYTES = 1500  # of a list; proxies limit all headers together to 4 or 8 KiB


def describe_principal(principal: Principal, *, max_items: int) -> dict[str, str]:
    """Return the headers.

    Args:
        principal: the caller.
        max_items: the longest list.
    """
    credential, user = principal.credential, principal.user
    headers = {"X-Auth-Method": str(credential.method)}
    if user is None:
        headers["X-Auth-Service"] = _encode(credential.name or credential.id or "")
        lists: dict[str, Iterable[str]] = {"Scopes": credential.scopes}
    else:
        headers["X-Auth-User"] = _encode(user.id)
        if user.email is not None and user.email_verified:
            headers["X-Auth-Email"] = _encode(user.email)
        lists = {
            "Roles": user.roles,
            "Teams": [team.name for team in user.teams],
            "Domains": [domain.key for domain in user.domains],
            "Scopes": credential.scopes,
        }
    omitted = []
    for name, items in lists.items():
        value = _join(items, max_items)
        if value is None:
            omitted.append(name.lower())
        elif value:
            headers[f"X-Auth-{name}"] = value
    return headers | ({"X-Auth-Omitted": ",".join(omitted)} if omitted else {})


def _join(items: Iterable[str], max_items: int) -> str | None:
    """Return a list as one value; None if it is too long."""
    encoded = [_encode(each) for each in items]
    value = ",".join(encoded)
    return value if len(encoded) <= max_items and len(value) <= MAX_BYTES else None


def _encode(text: str) -> str:
    return quote(text.strip(), safe=_SAFE)
