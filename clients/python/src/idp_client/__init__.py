"""Authenticates callers of a service: verifies the access tokens and API keys that idp issues.

Owns: offline verification with the JWKS (RFC 9068 section 4), online verification with POST /auth/validate, gates with
four outcomes, and adapters: `idp_client.litestar`, `idp_client.fastapi`, `idp_client.starlette`, `idp_client.flask`,
`idp_client.django`, and `idp_client.wsgi` for other WSGI applications.
Does not own: issuing credentials, and authorization beyond scopes and roles. It does not import the service's code.
"""

from idp_client.asgi import AuthMiddleware, authentication_of
from idp_client.auth_client import AuthClient, SyncAuthClient
from idp_client.caller import Caller, User
from idp_client.decorator import authenticated
from idp_client.errors import (
    AuthError,
    AuthUnavailable,
    InsufficientRoles,
    InsufficientScopes,
    TokenExpired,
    TokenRejected,
)
from idp_client.gate import Gate
from idp_client.jwks import JwksCache
from idp_client.sync_gate import SyncGate
from idp_client.token_info import TokenInfo
from idp_client.verifier import OfflineVerifier

__all__ = [
    "AuthClient",
    "AuthError",
    "AuthMiddleware",
    "AuthUnavailable",
    "Caller",
    "Gate",
    "InsufficientRoles",
    "InsufficientScopes",
    "JwksCache",
    "OfflineVerifier",
    "SyncAuthClient",
    "SyncGate",
    "TokenExpired",
    "TokenInfo",
    "TokenRejected",
    "User",
    "authenticated",
    "authentication_of",
]
