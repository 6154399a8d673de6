"""A FastAPI service that authenticates its callers with idp.

    pip install './clients/python[fastapi]' uvicorn
    export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
    uvicorn --app-dir examples/fastapi_service fastapi_service:app --port 8002

Access tokens are verified here, with the service's public keys; API keys and service tokens are asked about.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, Depends, FastAPI

from idp_client import AuthMiddleware, Caller, Gate
from idp_client.fastapi import AuthenticatedCaller, requires_roles, requires_scopes

gate = Gate.at(
    os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000"),
    issuer=os.environ.get("IDP_ISSUER"),  # what IDP_PUBLIC_URL says over there, if it is another address
    allow_development=os.environ.get("IDP_DEVELOPMENT") == "1",  # take tokens of `idp dev`; never in production
    service_name="fastapi-service",
)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Close the gate's connections at the end."""
    yield
    await gate.close()


app = FastAPI(lifespan=lifespan)
app.add_middleware(AuthMiddleware, gate=gate)


@app.get("/public")
async def public() -> dict[str, str]:
    """Public."""
    return {"message": "This is a public endpoint"}


@app.get("/me")
async def me(caller: AuthenticatedCaller) -> dict[str, object]:
    """Requires authentication."""
    email = caller.user.email if caller.user else None
    return {"kind": caller.kind, "name": caller.name, "email": email, "scopes": list(caller.scopes)}


@app.post("/echo")
async def echo(
    caller: Annotated[Caller, Depends(requires_scopes("read"))], message: Annotated[str, Body(embed=True)]
) -> dict[str, object]:
    """Requires the scope `read`."""
    return {"message": f"Echo: {message}", "authenticated_as": caller.name, "scopes": list(caller.scopes)}


@app.get("/admin/secret", dependencies=[Depends(requires_scopes("admin"))])
async def secret() -> dict[str, str]:
    """Requires the scope `admin`."""
    return {"secret": "This is secret admin data"}


@app.get("/admin/report", dependencies=[Depends(requires_roles("admin"))])
async def report() -> dict[str, str]:
    """Requires a user with the role `admin`."""
    return {"report": "This is for administrators"}
