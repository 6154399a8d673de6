"""Every role and scope that means something to this service."""

USER = "user"
ADMIN = "admin"

# Reserved scopes (C-09): granted by management only and honoured only on service credentials.
IDP_MANAGE = "idp:manage"
IDP_INTROSPECT = "idp:introspect"
RESERVED_PREFIX = "idp:"
RESERVED_SCOPES = {
    IDP_MANAGE: "Manages teams, domains, users and service tokens.",
    IDP_INTROSPECT: "Asks POST /oauth2/introspect about any credential.",
}

ROLES = {USER: "Anyone with an account.", ADMIN: "Manages users, teams and domains."}
