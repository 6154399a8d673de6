"""What an app sees of a user: only what the scopes of its token cover (OpenID Connect Core section 5.4)."""

from collections.abc import Collection

from msgspec import structs

from idp.principal.model import User
from idp.principal.permissions import DOMAINS, EMAIL, PROFILE, ROLES, TEAMS


def visible_user(user: User, scopes: Collection[str]) -> User:
    """Return the user without what the scopes do not cover; the id, the plan and the state stay."""
    hidden: dict[str, object] = {}
    if EMAIL not in scopes:
        hidden |= {"email": None, "email_verified": False}
    if PROFILE not in scopes:
        hidden |= {"name": None, "avatar_url": None}
    for scope, attribute in ((ROLES, "roles"), (TEAMS, "teams"), (DOMAINS, "domains")):
        if scope not in scopes:
            hidden[attribute] = ()
    return structs.replace(user, **hidden) if hidden else user
