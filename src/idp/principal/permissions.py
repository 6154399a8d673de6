"""Every role and scope that means something to this service."""

USER = "user"
ADMIN = "admin"

# Reserved scopes (C-09): granted by management only and honoured only on service credentials.
IDP_MANAGE = "idp:manage"

ROLES = {USER: "Anyone with an account.", ADMIN: "Manages users, teams and domains."}
