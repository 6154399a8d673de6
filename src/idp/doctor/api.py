"""Checks that an API refuses bad tokens (`idp doctor --api`)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from idp.doctor.bad_tokens import BadToken, bad_tokens
from idp.doctor.findings import Finding, ok, problem, unknown, warning

_SECONDS = 10.0
_REFUSALS = frozenset({400, 401, 403})
_LET_IN = "everyone can make this token"
_VERIFY = "verify tokens with idp-client or a certified library: docs/integrate/python-api.md"


def check_api(url: str, issuer: str, *, audience: str | None = None, good: str | None = None) -> Iterator[Finding]:
    """Yield a finding for each token that the API accepts or cannot handle, and one for those it refuses.

    Args:
        url: a route of the API that needs a token; GET must change nothing there.
        issuer: whose tokens it accepts.
        audience: of these tokens; the issuer by default.
        good: a token that it accepts. Without one, the API may refuse everything.

    Raises:
        httpx2.HTTPError: the API or the issuer does not answer.
    """
    with httpx2.Client(timeout=_SECONDS, follow_redirects=False) as client:
        keys = _keys_of(client, issuer)
        yield ok("issuer's keys", f"{len(keys)} at {issuer}")
        yield from _baseline(client, url, good)
        refused: Counter[int] = Counter()
        for each in bad_tokens(issuer, audience or issuer, keys=keys, good=good):
            status = _ask(client, url, each.token)
            refused[status] += status in _REFUSALS
            yield from _about(each, status)
        shown = ", ".join(f"{count} with {status}" for status, count in sorted(refused.items()) if count)
        yield ok("bad tokens refused", shown or "none")


def _keys_of(client: httpx2.Client, issuer: str) -> list[Mapping[str, Any]]:
    try:
        metadata = client.get(f"{issuer}/.well-known/openid-configuration").json()
        keys = client.get(metadata["jwks_uri"]).json()["keys"]
        return [key for key in keys if isinstance(key, dict)]
    except (ValueError, KeyError, TypeError, httpx2.InvalidURL):
        raise httpx2.HTTPError(f"{issuer} has no discovery document or keys") from None


def _baseline(client: httpx2.Client, url: str, good: str | None) -> Iterator[Finding]:
    status = _ask(client, url, None)
    if status < 400:
        yield problem(
            "no token",
            f"{url} answers {status} without a token",
            why="the route is public, so nothing about tokens can be checked there",
            change="name a route that needs a token, or protect this one",
        )
    else:
        yield ok("no token", f"refused ({status})")
    if good is None:
        yield warning(
            "good token",
            "none given",
            why="an API that refuses everything passes, too",
            change="put a token that it accepts into IDP_TOKEN",
        )
    elif (status := _ask(client, url, good)) >= 400:
        yield unknown(
            "good token",
            f"refused ({status})",
            why="an API that refuses everything passes, too",
            change="a valid token in IDP_TOKEN",
        )
    else:
        yield ok("good token", f"accepted ({status})")


def _about(bad: BadToken, status: int) -> Iterator[Finding]:
    if status < 400:
        yield problem(f"bad token: {bad.why}", f"let in ({status})", why=_LET_IN, change=_VERIFY)
    elif status >= 500:
        yield problem(
            f"bad token: {bad.why}",
            f"the API fails ({status})",
            why="everyone can make it fail, and an error is no refusal",
            change=_VERIFY,
        )
    elif status not in _REFUSALS and status not in {413, 414, 431}:
        yield warning(
            f"bad token: {bad.why}",
            f"answered {status}",
            why="clients expect 401 with WWW-Authenticate (RFC 6750 section 3)",
            change=_VERIFY,
        )


def _ask(client: httpx2.Client, url: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    try:
        return client.get(url, headers=headers).status_code
    except httpx2.RemoteProtocolError:  # closed without an answer, as some servers do for a header that is too long
        return 431
