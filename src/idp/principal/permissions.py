"""Roles and scopes used by this service."""

USER = "user"
ADMIN = "admin"

# Reserved scopes (C-09): granted only by management, effective only on service credentials.
IDP_MANAGE = "idp:manage"
IDP_INTROSPECT = "idp:introspect"
IDP_EVENTS = "idp:events"
RESERVED_PREFIX = "idp:"
RESERVED_SCOPES = {
    IDP_MANAGE: "Manages teams, domains, users and service tokens.",
    IDP_INTROSPECT: "Introspects any credential at POST /oauth2/introspect.",
    IDP_EVENTS: "Reads every event at GET /v1/events.",
}

# Scopes of OpenID Connect Core section 5.4 and 11, and our own for what a user is in the organisation.
OPENID, PROFILE, EMAIL, OFFLINE_ACCESS = "openid", "profile", "email", "offline_access"
ROLES, TEAMS, DOMAINS = "roles", "teams", "domains"
USER_SCOPES = (OPENID, PROFILE, EMAIL, OFFLINE_ACCESS, ROLES, TEAMS, DOMAINS)

ROLE_MEANINGS = {USER: "Anyone with an account.", ADMIN: "Manages users, teams and domains."}
