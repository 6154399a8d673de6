"""Who is calling? Verify the tokens and API keys of an idp in your own service.

Owns: offline verification by the JWKS (RFC 9068 section 4), asking POST /auth/validate, one gate with four outcomes,
and thin adapters: `idp_client.litestar`, `idp_client.fastapi`, `idp_client.starlette`, `idp_client.flask`,
`idp_client.django`, and `idp_client.wsgi` for every other WSGI application.
Does not own: issuing anything, and what a caller may do beyond holding scopes. Imports nothing of the service.
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
