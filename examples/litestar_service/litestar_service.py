"""A Litestar service that authenticates its callers with idp.

    pip install './clients/python[litestar]' uvicorn
    export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
    uvicorn --app-dir examples/litestar_service litestar_service:app --port 8002

Access tokens are verified here, with the service's public keys; API keys and service tokens are asked about.
"""

import os

from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from idp_client import Caller, Gate
from idp_client.litestar import IdpPlugin, requires_roles, requires_scopes

gate = Gate.at(
    os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000"),
    issuer=os.environ.get("IDP_ISSUER"),  # what IDP_PUBLIC_URL says over there, if it is another address
    allow_development=os.environ.get("IDP_DEVELOPMENT") == "1",  # take tokens of `idp dev`; never in production
    service_name="litestar-service",
)


class Message(Struct):
    """The request body."""

    message: str


@get("/public")
async def public() -> dict[str, str]:
    """Public."""
    return {"message": "This is a public endpoint"}


@get("/me")
async def me(caller: NamedDependency[Caller]) -> dict[str, object]:
    """Requires authentication."""
    email = caller.user.email if caller.user else None
    return {"kind": caller.kind, "name": caller.name, "email": email, "scopes": list(caller.scopes)}


@post("/echo", status_code=200, guards=[requires_scopes("read")])
async def echo(caller: NamedDependency[Caller], data: JSONBody[Message]) -> dict[str, object]:
    """Requires the scope `read`."""
    return {"message": f"Echo: {data.message}", "authenticated_as": caller.name, "scopes": list(caller.scopes)}


@get("/admin/secret", guards=[requires_scopes("admin")])
async def secret() -> dict[str, str]:
    """Requires the scope `admin`."""
    return {"secret": "This is secret admin data"}


@get("/admin/report", guards=[requires_roles("admin")])
async def report() -> dict[str, str]:
    """Requires a user with the role `admin`."""
    return {"report": "This is for administrators"}


# Litestar's default logging includes every request of the gate.
app = Litestar([public, me, echo, secret, report], plugins=[IdpPlugin(gate)], logging_config=None)
