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

ROLES = {USER: "Anyone with an account.", ADMIN: "Manages users, teams and domains."}
