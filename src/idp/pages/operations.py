"""Operation ids of the OpenAPI document, and aliases of preferred routes.

Operation ids are verbs in camel case, because generated clients use them as function names. An alias serves clients of
an old service; it is `deprecated` if its response differs from the preferred route's.
"""

import re
from typing import NamedTuple

Route = tuple[str, str]  # method, path

# Operation ids of handlers whose name has no verb.
_VERBS = {
    "all_domains": "listAllDomains",
    "all_teams": "listAllTeams",
    "api_auth_refresh": "refreshSession",
    "api_login": "loginVerified",
    "audit": "listAuditRecords",
    "auth_refresh": "refreshSession",
    "csrf": "getCsrfToken",
    "domain_users": "listDomainUsers",
    "follow_link": "followVerificationLink",
    "forward_auth": "validateForwardedRequest",
    "health": "getHealth",
    "jwks": "getJwks",
    "key_audit": "listKeyAuditRecords",
    "liveness": "getLiveness",
    "me": "getMe",
    "me_api": "getMe",
    "me_v1": "getMe",
    "my_domains": "listMyDomains",
    "my_teams": "listMyTeams",
    "prometheus": "getMetrics",
    "readiness": "getReadiness",
    "team_members": "listTeamMembers",
    "user_keys": "listUserKeys",
    "user_sessions": "listUserSessions",
}


class Alias(NamedTuple):
    """A route that duplicates a preferred one.

    Attributes:
        preferred: method and path of the route for new clients.
        differs: a sentence about the differing response; None for the same handler and response.
    """

    preferred: Route
    differs: str | None = None


_OF_LINKS = "It consumes the link of a mail with a GET and returns JSON; mail scanners also follow links."
_OF_TESTS = "It exists only for checks by FastAPI auth clients."
ALIASES: dict[Route, Alias] = {
    ("GET", "/"): Alias(("GET", "/health")),
    ("GET", "/api/auth/healthz"): Alias(("GET", "/healthz")),
    ("GET", "/v1/me"): Alias(
        ("GET", "/auth/me"), "It adds `createdAt` and `updatedAt`, and its `role` is upper case, for Anomalyze clients."
    ),
    ("GET", "/api/auth/me"): Alias(("GET", "/auth/me"), "It adds `message`, for FastAPI auth clients."),
    ("POST", "/api/auth/refresh"): Alias(("POST", "/auth/refresh")),
    ("POST", "/api/auth/logout"): Alias(("POST", "/auth/logout")),
    ("POST", "/api/auth/logout-all"): Alias(("POST", "/auth/logout-all")),
    ("POST", "/internal/validate-key"): Alias(
        ("POST", "/auth/validate"), "It accepts only API keys and returns `rate_limit_tier`, for Anomalyze services."
    ),
    ("GET", "/api/auth/email/verify"): Alias(("POST", "/api/auth/email/verify"), _OF_LINKS),
    ("GET", "/api/auth/test/public"): Alias(("GET", "/healthz"), _OF_TESTS),
    ("GET", "/api/auth/test/protected"): Alias(("GET", "/auth/me"), _OF_TESTS),
}


def operation_id(handler: str, route: Route) -> str:
    """Return the id of an operation: a verb, and for an alias also its path.

    Args:
        handler: the name of the function.
        route: method and path template.
    """
    first, *rest = handler.split("_")
    name = _VERBS.get(handler, first + "".join(part.capitalize() for part in rest))
    alias = ALIASES.get(route)
    if alias is None or handler.startswith(("follow_", "try_", "validate_key")):
        return name
    words = re.findall(r"[A-Za-z0-9]+", route[1])
    return f"{name}At{''.join(word.capitalize() for word in words) or 'Root'}"


def describe_alias(route: Route) -> tuple[str, bool] | None:
    """Return the description of an alias and whether it is deprecated; None for a preferred route."""
    alias = ALIASES.get(route)
    if alias is None:
        return None
    preferred = " ".join(alias.preferred)
    if alias.differs is None:
        return f"An alias of `{preferred}` with the same response; new clients use that one.", False
    return f"Deprecated: new clients use `{preferred}`. {alias.differs}", True
