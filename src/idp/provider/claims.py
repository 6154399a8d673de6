"""Claims about a user in ID tokens and userinfo (OpenID Connect Core section 5.1 and 5.4)."""

from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct

from idp.principal.model import User
from idp.principal.permissions import DOMAINS, EMAIL, PROFILE, ROLES, TEAMS

# By scope: the claims that it releases.
OF_SCOPE: dict[str, tuple[str, ...]] = {
    PROFILE: ("name", "picture", "updated_at"),
    EMAIL: ("email", "email_verified"),
    ROLES: ("roles",),
    TEAMS: ("teams",),
    DOMAINS: ("domains",),
}
SUPPORTED = tuple(claim for claims in OF_SCOPE.values() for claim in claims)
_LISTS = (ROLES, TEAMS, DOMAINS)
_SOURCE = "userinfo"


class Limit(Struct, frozen=True):
    """How many items a list in a token may have, so that headers stay below the limits of proxies.

    Attributes:
        items: the most items.
        endpoint: returns the whole list for the access token.
    """

    items: int
    endpoint: str


def scopes_of(claims: Iterable[str]) -> set[str]:
    """Return the scopes that release these claims, for consent to a `claims` parameter."""
    wanted = set(claims)
    return {scope for scope, released in OF_SCOPE.items() if wanted & set(released)}


def claims_within(claims: Iterable[str], scopes: Collection[str]) -> tuple[str, ...]:
    """Return the claims that one of these scopes releases: a client gets no others, whichever way it asks."""
    released = {claim for scope in scopes for claim in OF_SCOPE.get(scope, ())}
    return tuple(claim for claim in claims if claim in released)


def claims_of(
    user: User, scopes: Collection[str], extra: Collection[str] = (), *, limit: "Limit | None" = None
) -> dict[str, Any]:
    """Return what a client may know about a user. A claim without a value is left out (section 5.3.2).

    Args:
        user: the user.
        scopes: granted scopes.
        extra: claims that the `claims` parameter requested and the user granted.
        limit: of lists of roles, teams and domains; a longer one becomes a reference (section 5.6.2). None: no limit.
    """
    released = {claim for scope in scopes for claim in OF_SCOPE.get(scope, ())} | set(extra)
    claims = {name: value for name, value in _all(user).items() if name in released and value is not None}
    if limit is not None and (longer := [name for name in _LISTS if len(claims.get(name, ())) > limit.items]):
        claims = {name: value for name, value in claims.items() if name not in longer}
        claims["_claim_names"] = dict.fromkeys(longer, _SOURCE)
        claims["_claim_sources"] = {_SOURCE: {"endpoint": limit.endpoint}}
    return claims


def _all(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "picture": user.avatar_url,
        "updated_at": int(user.updated_at.timestamp()),
        "email": user.email,
        "email_verified": user.email_verified if user.email else None,
        "roles": list(user.roles),
        "teams": [{"id": str(team.id), "name": team.name, "role": team.role or "member"} for team in user.teams],
        "domains": [{"id": str(each.id), "key": each.key, "name": each.name} for each in user.domains],
    }
