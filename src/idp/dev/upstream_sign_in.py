"""The sign-in at Example Corp: authorization requests, its sessions, codes and tokens.

Everything that it gives out is a JWT of its own, so that nothing is stored; only used codes are remembered.
"""

import base64
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

import msgspec
from msgspec import Struct

from idp.dev.upstream_issuer import AUDIENCE, PERSONAS, UpstreamIssuer, UpstreamPersona, find_person
from idp.signing import pkce

COOKIE = "example_corp_session"
_SESSION, _CODE, _ACCESS = "session+jwt", "code+jwt", "opaque+jwt"
_SESSION_LIFE, _CODE_LIFE, _ACCESS_LIFE = 12 * 3600, 60, 300  # seconds
_CALLBACK, _SIGNED_OUT = "/callback", "/signed-out"
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Refused(Exception):
    """A request whose client or redirect URI is not ours; the text is for its developer."""


class TokenRefused(Exception):
    """A token request is refused; the text is its OAuth error code."""


class UpstreamSession(Struct, frozen=True):
    """A browser's session at Example Corp."""

    person: UpstreamPersona
    sid: str
    auth_time: int


class UpstreamRequest(Struct, frozen=True):
    """An authorization request with a proven redirect URI.

    Attributes:
        problem: the OAuth error code of a request that is wrong, None for a right one.
    """

    redirect_uri: str
    state: str | None
    nonce: str | None
    code_challenge: str
    prompt: frozenset[str]
    login_hint: str
    problem: str | None = None

    @property
    def hinted(self) -> UpstreamPersona | None:
        """The demo user whose address is hinted at."""
        return next((each for each in PERSONAS if each.email == self.login_hint.strip().lower()), None)

    def accepts(self, session: UpstreamSession) -> bool:
        """Whether a session answers the request without a question."""
        is_other = self.login_hint and self.login_hint.strip().lower() != session.person.email
        return not is_other and self.prompt.isdisjoint({"login", "select_account"})


def read_request(parameters: Mapping[str, str]) -> UpstreamRequest:
    """Return an authorization request.

    Raises:
        Refused: its client or redirect URI is not ours.
    """
    if parameters.get("client_id") != AUDIENCE:
        raise Refused(f"The parameter client_id is not {AUDIENCE}, the only client here.")
    redirect_uri = parameters.get("redirect_uri", "")
    if not _is_ours(redirect_uri, _CALLBACK):
        raise Refused(f"The parameter redirect_uri is not a callback of this service: {redirect_uri[:200]}")
    problem = None
    if parameters.get("response_type") != "code":
        problem = "unsupported_response_type"
    elif "openid" not in parameters.get("scope", "").split():
        problem = "invalid_scope"
    elif parameters.get("code_challenge_method") != "S256" or not pkce.is_challenge(
        parameters.get("code_challenge", "")
    ):
        problem = "invalid_request"
    return UpstreamRequest(
        redirect_uri,
        parameters.get("state"),
        parameters.get("nonce"),
        parameters.get("code_challenge", ""),
        frozenset(parameters.get("prompt", "").split()),
        parameters.get("login_hint", ""),
        problem,
    )


def logout_target(parameters: Mapping[str, str]) -> str | None:
    """Return where a browser goes after its logout, None to stay here."""
    uri = parameters.get("post_logout_redirect_uri", "")
    if not _is_ours(uri, _SIGNED_OUT):
        return None
    state = parameters.get("state")
    return f"{uri}?{urlencode({'state': state})}" if state else uri


class UpstreamSignIn:
    """Signs people in at Example Corp.

    Args:
        issuer: signs everything.
    """

    def __init__(self, issuer: UpstreamIssuer) -> None:
        self.issuer = issuer
        self._used: dict[str, float] = {}  # the end of each used code

    def session(self, cookie: str) -> UpstreamSession | None:
        """Return the session of a cookie, None without one."""
        claims = self.issuer.read(cookie, typ=_SESSION) if cookie else None
        return msgspec.convert(claims["session"], UpstreamSession) if claims else None

    def start(self, text: str) -> tuple[UpstreamSession, str]:
        """Return a new session of a person, and its cookie."""
        session = UpstreamSession(find_person(text), secrets.token_hex(8), int(time.time()))
        content = {"session": msgspec.to_builtins(session), "exp": session.auth_time + _SESSION_LIFE}
        return session, self.issuer.sign(content, typ=_SESSION)

    def answer(self, request: UpstreamRequest, session: UpstreamSession) -> str:
        """Return the address of the answer with a code."""
        content = {
            "session": msgspec.to_builtins(session),
            "redirect_uri": request.redirect_uri,
            "nonce": request.nonce,
            "code_challenge": request.code_challenge,
            "jti": secrets.token_hex(10),
            "exp": int(time.time()) + _CODE_LIFE,
        }
        return self._answer(request, {"code": self.issuer.sign(content, typ=_CODE)})

    def refuse(self, request: UpstreamRequest, error: str) -> str:
        """Return the address of an answer with an error."""
        return self._answer(request, {"error": error})

    def _answer(self, request: UpstreamRequest, parameters: dict[str, str]) -> str:
        state = {} if request.state is None else {"state": request.state}
        return f"{request.redirect_uri}?{urlencode({**parameters, **state, 'iss': self.issuer.issuer})}"

    def exchange(self, form: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """Return the tokens of a code, once (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

        Raises:
            TokenRefused: the client, the code or its verifier is wrong.
        """
        self._check_client(form, authorization)
        if form.get("grant_type") != "authorization_code":
            raise TokenRefused("unsupported_grant_type")
        code = self.issuer.read(form.get("code", ""), typ=_CODE)
        if code is None or not self._use(code) or code["redirect_uri"] != form.get("redirect_uri"):
            raise TokenRefused("invalid_grant")
        if pkce.challenge_of(form.get("code_verifier", "")) != code["code_challenge"]:
            raise TokenRefused("invalid_grant")
        session = msgspec.convert(code["session"], UpstreamSession)
        of_login = {"nonce": code["nonce"], "sid": session.sid, "auth_time": session.auth_time, "amr": ["pwd"]}
        access = {"session": code["session"], "exp": int(time.time()) + _ACCESS_LIFE}
        return {
            "access_token": self.issuer.sign(access, typ=_ACCESS),
            "token_type": "Bearer",
            "expires_in": _ACCESS_LIFE,
            "scope": "openid profile email",
            "id_token": self.issuer.token(session.person, of_login),
        }

    def userinfo(self, access_token: str) -> dict[str, Any] | None:
        """Return the claims of an access token's person, None if it is not acceptable."""
        claims = self.issuer.read(access_token, typ=_ACCESS)
        if claims is None:
            return None
        person = msgspec.convert(claims["session"], UpstreamSession).person
        about = {"sub": person.subject, "email": person.email, "email_verified": True, "name": person.name}
        return {**about, "groups": list(person.groups)}

    def logout_token(self, sid: str, subject: str) -> str:
        """Return the token that says that a session has ended (OpenID Connect Back-Channel Logout 1.0)."""
        now = int(time.time())
        content = {
            "iss": self.issuer.issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "sid": sid,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(10),
            "events": {_LOGOUT_EVENT: {}},
        }
        return self.issuer.sign(content, typ="logout+jwt")

    def ended_by(self, id_token_hint: str) -> tuple[str, str] | None:
        """Return `sid` and subject of an ID token, None if it is not ours or has no session."""
        claims = self.issuer.read(id_token_hint, typ="JWT", expired=True) or {}
        return (claims["sid"], claims["sub"]) if "sid" in claims else None

    def _check_client(self, form: Mapping[str, str], authorization: str) -> None:
        sent = (form.get("client_id", ""), form.get("client_secret", ""))
        if authorization.lower().startswith("basic "):
            try:
                name, _, password = base64.b64decode(authorization[6:], validate=True).decode().partition(":")
            except ValueError:
                raise TokenRefused("invalid_client") from None
            sent = (unquote_plus(name), unquote_plus(password))
        secret = self.issuer.client_secret
        known = secret.reveal() if secret is not None else ""
        if sent[0] != AUDIENCE or not known or not hmac.compare_digest(sent[1].encode(), known.encode()):
            raise TokenRefused("invalid_client")

    def _use(self, code: Mapping[str, Any]) -> bool:
        """Remember that a code is used; False if it was."""
        now = time.time()
        self._used = {jti: end for jti, end in self._used.items() if end > now}
        is_new = code["jti"] not in self._used
        self._used[code["jti"]] = code["exp"]
        return is_new


def _is_ours(uri: str, end: str) -> bool:
    """Whether an address is one of our pages of sign-in through providers, at a local host name."""
    try:
        parts = urlsplit(uri)
        is_local = (parts.hostname or "") in _LOCAL or (parts.hostname or "").endswith(".localhost")
    except ValueError:
        return False
    is_page = parts.path.endswith(end) and "/federation/" in parts.path and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and is_local and is_page
