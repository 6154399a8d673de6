"""A Starlette service that authenticates its callers with idp.

    pip install './clients/python[starlette]' uvicorn
    export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
    uvicorn --app-dir examples/starlette_service starlette_service:app --port 8002

Access tokens are verified here, with the service's public keys; API keys and service tokens are asked about.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from idp_client import Gate
from idp_client.starlette import AuthMiddleware, authenticated, caller

gate = Gate.at(
    os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000"),
    issuer=os.environ.get("IDP_ISSUER"),  # what IDP_PUBLIC_URL says over there, if it is another address
    allow_development=os.environ.get("IDP_DEVELOPMENT") == "1",  # take tokens of `idp dev`; never in production
    service_name="starlette-service",
)


class Message(msgspec.Struct):
    """The request body."""

    message: str


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Close the gate's connections at the end."""
    yield
    await gate.close()


async def public(_request: Request) -> JSONResponse:
    """Public."""
    return JSONResponse({"message": "This is a public endpoint"})


async def me(request: Request) -> JSONResponse:
    """Requires authentication."""
    who = await caller(request)
    email = who.user.email if who.user else None
    return JSONResponse({"kind": who.kind, "name": who.name, "email": email, "scopes": list(who.scopes)})


async def echo(request: Request) -> JSONResponse:
    """Requires the scope `read`."""
    who = await caller(request, "read")
    try:
        message = msgspec.json.decode(await request.body(), type=Message).message
    except msgspec.DecodeError as error:
        raise HTTPException(422, str(error)) from error
    return JSONResponse({"message": f"Echo: {message}", "authenticated_as": who.name, "scopes": list(who.scopes)})


@authenticated(required_scopes=["admin"])
async def secret(_request: Request) -> JSONResponse:
    """Requires the scope `admin`."""
    return JSONResponse({"secret": "This is secret admin data"})


@authenticated(required_roles=["admin"])
async def report(_request: Request) -> JSONResponse:
    """Requires a user with the role `admin`."""
    return JSONResponse({"report": "This is for administrators"})


app = Starlette(
    routes=[
        Route("/public", public),
        Route("/me", me),
        Route("/echo", echo, methods=["POST"]),
        Route("/admin/secret", secret),
        Route("/admin/report", report),
    ],
    middleware=[Middleware(AuthMiddleware, gate=gate)],
    lifespan=lifespan,
)
