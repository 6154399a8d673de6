"""A backend for a browser app: it signs people in with idp and keeps their tokens; the browser gets only a cookie.

    pip install authlib flask joserfc requests
    export AUTH_SERVICE_URL=http://localhost:8000 CLIENT_ID=web CLIENT_SECRET=…
    flask --app examples/bff/bff.py run --port 3000

Then open http://127.0.0.1:3000/. `script/dev` has the client `web` ready, with its secret in `var/dev/dev.json`; to be
told of logouts, register http://127.0.0.1:3000/backchannel-logout as its back-channel logout URI.
"""

import os
import secrets
import threading
from typing import Any
from urllib.parse import urlencode

from authlib.integrations.flask_client import OAuth
from flask import Flask, abort, redirect, request, session, url_for
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ISSUER = os.environ.get("AUTH_SERVICE_URL", "http://localhost:8000").rstrip("/")
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ.get("SESSION_SECRET") or secrets.token_hex(32),
    SESSION_COOKIE_SAMESITE="Lax",
    SESSION_COOKIE_HTTPONLY=True,
)
sessions: dict[str, dict[str, Any]] = {}  # tokens by the key in the cookie; use a database for more than one process
lock = threading.Lock()


def keep(_name: str, token: dict[str, Any], **_old: object) -> None:
    """Store a refreshed token."""
    sessions[session["key"]] |= token


oauth = OAuth(app, update_token=keep)
idp = oauth.register(
    "idp",
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_id=os.environ.get("CLIENT_ID", "web"),
    client_secret=os.environ.get("CLIENT_SECRET"),
    client_kwargs={"scope": "openid profile email offline_access", "code_challenge_method": "S256"},
)


@app.get("/")
def home() -> str:
    tokens = sessions.get(session.get("key", ""))
    if tokens is None:
        return '<a href="/login">Sign in</a>'
    name = tokens["userinfo"].get("name", tokens["userinfo"]["sub"])
    return f'<p>{name.replace("<", "")}</p><form method="post" action="/logout"><button>Sign out</button></form>'


@app.get("/login")
def login() -> Any:
    return idp.authorize_redirect(url_for("callback", _external=True))


@app.get("/callback")
def callback() -> Any:
    tokens = idp.authorize_access_token()  # checks state and nonce, and verifies the ID token
    session.clear()
    session["key"] = secrets.token_urlsafe(32)  # a new one at every sign-in
    sessions[session["key"]] = dict(tokens)
    return redirect("/")


@app.get("/api/me")
def me() -> Any:
    """Call an API for the browser; the token is refreshed when it expires."""
    with lock:  # one refresh at a time, because each refresh token works once
        tokens = sessions.get(session.get("key", "")) or abort(401)
        answer = idp.get(f"{ISSUER}/oauth2/userinfo", token=dict(tokens))
    return answer.json(), answer.status_code


@app.post("/logout")
def logout() -> Any:
    """End the session here, then at idp."""
    if request.headers.get("Origin", request.host_url.rstrip("/")) != request.host_url.rstrip("/"):
        abort(403)
    tokens = sessions.pop(session.pop("key", ""), None)
    if tokens is None:
        return redirect("/")
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": url_for("home", _external=True)}
    return redirect(f"{idp.load_server_metadata()['end_session_endpoint']}?{urlencode(sent)}", 303)


@app.post("/backchannel-logout")
def backchannel_logout() -> Any:
    """End the sessions that a logout token of idp names (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""
    try:
        keys = KeySet.import_key_set(idp.fetch_jwk_set(force=True))
        token = jwt.decode(request.form["logout_token"], keys, algorithms=["RS256", "ES256"])
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": idp.client_id},
            sid={"essential": True},
            jti={"essential": True},
        )
        rules.validate(token.claims)
    except (JoseError, KeyError, ValueError):
        abort(400)
    claims = token.claims
    if token.header.get("typ") != "logout+jwt" or LOGOUT_EVENT not in claims.get("events", {}) or "nonce" in claims:
        abort(400)
    for key, tokens in list(sessions.items()):
        if tokens["userinfo"]["sid"] == claims["sid"]:
            sessions.pop(key, None)
    return "", 200, {"Cache-Control": "no-store"}
