"""A Django service that authenticates its callers with idp, in one file.

    pip install './clients/python[django]'
    export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
    python examples/django_service/django_service.py runserver --noreload 8002

Access tokens are verified here, with the service's public keys; API keys and service tokens are asked about.
"""

import json
import os
import secrets
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from idp_client.django import current_caller, requires_roles, requires_scopes

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(50),  # signs nothing here: this service keeps no sessions
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=["idp_client.django.AuthMiddleware"],
    IDP_AUTH_SERVICE_URL=os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000"),
    IDP_ISSUER=os.environ.get("IDP_ISSUER"),  # what IDP_PUBLIC_URL says over there, if it is another address
    IDP_DEVELOPMENT=os.environ.get("IDP_DEVELOPMENT") == "1",  # take tokens of `idp dev`; never in production
    IDP_SERVICE_NAME="django-service",
)


@require_GET
def public(_request: HttpRequest) -> JsonResponse:
    """Public."""
    return JsonResponse({"message": "This is a public endpoint"})


@require_GET
def me(request: HttpRequest) -> JsonResponse:
    """Requires authentication."""
    who = current_caller(request)
    email = who.user.email if who.user else None
    return JsonResponse({"kind": who.kind, "name": who.name, "email": email, "scopes": list(who.scopes)})


@require_POST
@requires_scopes("read")
def echo(request: HttpRequest) -> JsonResponse:
    """Requires the scope `read`."""
    try:
        message = json.loads(request.body)["message"]
    except (ValueError, KeyError, TypeError):
        message = None
    if not isinstance(message, str):
        return JsonResponse({"detail": 'Send {"message": "…"}.'}, status=422)
    who = current_caller(request)
    scopes = list(who.scopes)
    return JsonResponse({"message": f"Echo: {message}", "authenticated_as": who.name, "scopes": scopes})


@require_GET
@requires_scopes("admin")
def secret(_request: HttpRequest) -> JsonResponse:
    """Requires the scope `admin`."""
    return JsonResponse({"secret": "This is secret admin data"})


@require_GET
@requires_roles("admin")
def report(_request: HttpRequest) -> JsonResponse:
    """Requires a user with the role `admin`."""
    return JsonResponse({"report": "This is for administrators"})


urlpatterns = [
    path("public", public),
    path("me", me),
    path("echo", echo),
    path("admin/secret", secret),
    path("admin/report", report),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
