"""A Flask service that authenticates its callers with idp.

    pip install './clients/python[flask]'
    export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
    flask --app examples/flask_service/flask_service.py run --port 8002

Access tokens are verified here, with the service's public keys; API keys and service tokens are asked about.
"""

import atexit
import os
from typing import Any

from flask import Flask, abort, request

from idp_client import SyncGate
from idp_client.flask import current_caller, init_app, requires_roles, requires_scopes

gate = SyncGate.at(
    os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000"),
    issuer=os.environ.get("IDP_ISSUER"),  # what IDP_PUBLIC_URL says over there, if it is another address
    allow_development=os.environ.get("IDP_DEVELOPMENT") == "1",  # take tokens of `idp dev`; never in production
    service_name="flask-service",
)
atexit.register(gate.close)
app = Flask(__name__)
init_app(app, gate)


@app.get("/public")
def public() -> dict[str, str]:
    """Public."""
    return {"message": "This is a public endpoint"}


@app.get("/me")
def me() -> dict[str, Any]:
    """Requires authentication."""
    who = current_caller()
    email = who.user.email if who.user else None
    return {"kind": who.kind, "name": who.name, "email": email, "scopes": list(who.scopes)}


@app.post("/echo")
@requires_scopes("read")
def echo() -> dict[str, Any]:
    """Requires the scope `read`."""
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        abort(422)
    who = current_caller()
    return {"message": f"Echo: {body['message']}", "authenticated_as": who.name, "scopes": list(who.scopes)}


@app.get("/admin/secret")
@requires_scopes("admin")
def secret() -> dict[str, str]:
    """Requires the scope `admin`."""
    return {"secret": "This is secret admin data"}


@app.get("/admin/report")
@requires_roles("admin")
def report() -> dict[str, str]:
    """Requires a user with the role `admin`."""
    return {"report": "This is for administrators"}
