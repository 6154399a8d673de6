"""What the issuer for tests answers: discovery, JWKS, /auth/validate, /oauth2/introspect and /auth/me."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from idp_client.testing.server import Request, Response
from idp_client.token_info import TokenInfo

INTROSPECT = "idp:introspect"  # the scope of a service token that may introspect (RFC 7662 section 2.1)
Verdict = Callable[[str, list[str]], TokenInfo]
_UNAUTHORIZED = {"WWW-Authenticate": "Bearer"}


class _Validate(Struct):
    token: str
    required_scopes: list[str] = []


class Endpoints:
    """The routes of one issuer.

    Args:
        issuer: its URL; a function, because the port is known after the server has started.
        keys: returns the members of its JWKS.
        verdict: decides about a credential with required scopes, for /auth/validate.
        introspect: the same, for /oauth2/introspect.
    """

    def __init__(
        self,
        issuer: Callable[[], str],
        keys: Callable[[], list[dict[str, Any]]],
        *,
        verdict: Verdict,
        introspect: Verdict,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._verdict = verdict
        self._introspection = introspect

    @property
    def routes(self) -> Mapping[tuple[str, str], Callable[[Request], Response]]:
        """Handlers by method and path."""
        return {
            ("GET", "/.well-known/openid-configuration"): self._discovery,
            ("GET", "/.well-known/oauth-authorization-server"): self._discovery,
            ("GET", "/.well-known/jwks.json"): lambda _: Response({"keys": self._keys()}),
            ("POST", "/auth/validate"): self._validate,
            ("POST", "/oauth2/introspect"): self._introspect,
            ("GET", "/auth/me"): self._me,
        }

    def _discovery(self, _: Request) -> Response:
        issuer = self._issuer()
        return Response(
            {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/.well-known/jwks.json",
                "introspection_endpoint": f"{issuer}/oauth2/introspect",
                "userinfo_endpoint": f"{issuer}/auth/me",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            }
        )

    def _validate(self, request: Request) -> Response:
        try:
            question = msgspec.json.decode(request.body, type=_Validate)
        except (msgspec.MsgspecError, ValueError):
            return Response({"code": "validation_failed", "status": 422}, 422)
        return Response(self._verdict(question.token, question.required_scopes))

    def _introspect(self, request: Request) -> Response:
        if not self._may_introspect(request):
            return Response({"error": "invalid_client"}, 401, {"WWW-Authenticate": "Basic"})
        tokens = parse_qs(request.body.decode("latin-1")).get("token", [])
        if len(tokens) != 1:
            return Response({"error": "invalid_request"}, 400)
        info = self._introspection(tokens[0], [])
        if not info.valid:
            return Response({"active": False})
        members = {
            "active": True,
            "scope": " ".join(info.scopes),
            "iss": self._issuer(),
            "jti": info.token_id,
            "sub": info.user.id if info.user else info.name,
            "username": info.user.email if info.user else None,
            "exp": int(info.expires_at.timestamp()) if info.expires_at else None,
        }
        return Response({name: value for name, value in members.items() if value is not None})

    def _may_introspect(self, request: Request) -> bool:
        authorization = request.headers.get("authorization", "")
        if authorization.lower().startswith("basic "):  # any client: its secrets are not what a service's test is about
            return True
        return self._verdict(_credential(request), [INTROSPECT]).kind == "service_token"

    def _me(self, request: Request) -> Response:
        info = self._verdict(_credential(request), [])
        if info.user is None:
            code = "unauthenticated" if info.error is None else info.error
            return Response({"code": code, "status": 401}, 401, _UNAUTHORIZED)
        user = msgspec.to_builtins(info.user)
        return Response({**user, "user_id": info.user.id, "is_active": True})


def _credential(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
