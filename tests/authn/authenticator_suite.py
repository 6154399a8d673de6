"""The one suite that every authenticator must pass (style card 13): one case each, the same questions to all.

A case says how its credentials are made and what must come of them; `test_every_authenticator.py` asks. What cannot
happen to a kind of credential is said with `NotApplicable` and a reason, which the tests then hold it to.
"""

import hashlib
import hmac
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx2

from authn.issuer_support import AUDIENCE, Issuer, running_issuer
from factories import Person, Service, root_secret, running
from idp.apikeys.secret import generate
from idp.authn.chain import Authenticator, AuthenticatorChain
from idp.authn.credential import Presented, from_headers
from idp.dev.clerk_instance import ClerkInstance, new_state
from idp.signing.jwt import Family, IssuedToken, TokenUser
from signing.forgery import Forge, compact, hs

Headers = Mapping[str, str]

ADMIN_TOKEN = secrets.token_urlsafe(40)
SHARED_SECRET = secrets.token_urlsafe(40)
ISSUER = "http://localhost:8000"
CLERK = ClerkInstance("https://clerk.example.com", new_state())
ENVIRON = {
    "IDP_SECRET_KEY": root_secret(),
    "IDP_PUBLIC_URL": ISSUER,
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "AUTH_JWT_SECRET_KEY": SHARED_SECRET,
    "IDP_AUTHN__PLUGINS": "gateway",
    "CLERK_ISSUER": CLERK.issuer,
    "CLERK_JWT_KEY": CLERK.public_key,
    "CLERK_AUTHORIZED_PARTIES": "http://localhost:5173",
}
DISABLE = "UPDATE idp.users SET is_active = false WHERE id = $1"
END = "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE user_id = $1"
DELETE = "UPDATE idp.users SET deleted_at = now() WHERE id = $1"


def of_issuer(issuer: Issuer) -> dict[str, str]:
    """Return the variables that accept an issuer's tokens."""
    return {"AUTH_OIDC_ISSUER": issuer.url, "AUTH_OIDC_AUDIENCE": AUDIENCE}


def chain_of(service: Service) -> AuthenticatorChain:
    """Return the chain that answers this service's requests."""
    (middleware,) = service.app.middleware
    return middleware.introspector.chain  # type: ignore[union-attr]


def authenticator_of(service: Service, name: str) -> Authenticator:
    (found,) = [each for each in chain_of(service).authenticators if each.name == name]
    return found


def presented(headers: Headers) -> Presented:
    """Return what the middleware makes of these headers."""
    return from_headers([(name.lower().encode(), value.encode()) for name, value in headers.items()])


@dataclass(frozen=True)
class World:
    """A deployment with every authenticator in its chain, through its restarts."""

    database_url: str
    config: Path
    gateway_secret: str
    issuer: Issuer
    service: Service

    @classmethod
    @asynccontextmanager
    async def start(cls, database_url: str, config: Path, gateway_secret: str) -> AsyncIterator["World"]:
        async with running_issuer() as issuer:
            environ = ENVIRON | of_issuer(issuer) | {"IDP_CONFIG_DIR": str(config)}
            async with running(database_url, environ=environ) as service:
                yield cls(database_url, config, gateway_secret, issuer, service)

    @asynccontextmanager
    async def restarted(self, changes: Mapping[str, str]) -> AsyncIterator[Service]:
        """Start it once more, on the same database, with some variables changed."""
        environ = ENVIRON | of_issuer(self.issuer) | {"IDP_CONFIG_DIR": str(self.config)} | dict(changes)
        async with running(self.database_url, environ=environ, migrate=False) as service:
            yield service


@dataclass(frozen=True)
class Good:
    """A valid credential and its user's id; None for a service."""

    headers: Headers
    person: Person | None


@dataclass(frozen=True)
class Bad:
    """A credential that is refused, and how."""

    what: str
    headers: Headers
    code: str
    status: int = 401


@dataclass(frozen=True)
class Revocation:
    """What ends a credential: a statement about its owner, or a restart with other variables."""

    how: str
    code: str
    sql: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NotApplicable:
    """This cannot happen to such a credential, and why."""

    why: str


class AuthenticatorCase(ABC):
    """How one kind of credential answers the questions of the suite."""

    label: ClassVar[str]
    authenticator: ClassVar[str]  # its name in the chain
    asks_database: ClassVar[bool]  # by itself, before anyone asks who the user is

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = world.service

    @abstractmethod
    async def good(self) -> Good:
        """Return a new credential, of a new user if it belongs to a user."""

    @abstractmethod
    async def malformed(self) -> Sequence[Bad]:
        """Return credentials of this kind that are damaged or forged."""

    @abstractmethod
    async def expired(self) -> Sequence[Bad] | NotApplicable:
        """Return credentials that ended."""

    @abstractmethod
    async def meant_for_others(self) -> Sequence[Bad] | NotApplicable:
        """Return credentials of a wrong issuer or audience."""

    @abstractmethod
    async def revocations(self) -> Sequence[Revocation]:
        """Return everything that ends a credential before its time."""

    @abstractmethod
    def without_database(self) -> NotApplicable | None:
        """Return why this kind goes on without PostgreSQL, or None if it is 503 then."""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def about(person: Person) -> TokenUser:
    return TokenUser(id=person.id, email=person.email, email_verified=False, roles=("user",))


def flipped(text: str) -> str:
    """Return the text with one character in the middle changed."""
    at = len(text) // 2
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


class AccessToken(AuthenticatorCase):
    """An `at+jwt` of the key ring (RFC 9068)."""

    label = "local_jwt at+jwt"
    authenticator = "local_jwt"
    asks_database = True  # for a key that is not in memory

    async def _issue(self, person: Person, life: timedelta | None = None) -> IssuedToken:
        tokens = self.service.app.core.tokens
        return await tokens.issue_asymmetric(about(person), session=person.token_session, life=life)

    async def good(self) -> Good:
        person = await self.service.register()
        return Good(bearer((await self._issue(person)).token), person)

    async def malformed(self) -> list[Bad]:
        person = await self.service.register()
        header, payload, signature = (await self._issue(person)).token.split(".")
        return [
            Bad("a signature changed", bearer(f"{header}.{payload}.{flipped(signature)}"), "token_invalid"),
            Bad("a signature left out", bearer(f"{header}.{payload}."), "token_invalid"),
            Bad("a part left out", bearer(f"{header}.{payload}"), "credential_unrecognised"),
            Bad("cut short", bearer(f"{header}.{payload[:-5]}.{signature}"), "credential_unrecognised"),
        ]

    async def expired(self) -> list[Bad]:
        token = (await self._issue(await self.service.register(), timedelta(seconds=-1))).token
        return [Bad("a second ago", bearer(token), "token_expired")]

    async def meant_for_others(self) -> list[Bad]:
        forge = await Forge.of(self.service, await self.service.register())
        elsewhere = "https://other.example.com"
        return [
            Bad("audience", bearer(forge.token(claims=forge.claims(aud=elsewhere))), "token_invalid"),
            Bad("issuer", bearer(forge.token(claims=forge.claims(iss=elsewhere))), "credential_unrecognised"),
        ]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the session ends", "token_revoked", sql=END),
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the root secret is replaced", "token_invalid", environ={"IDP_SECRET_KEY": root_secret()}),
            Revocation("the issuer changes", "credential_unrecognised", environ={"IDP_PUBLIC_URL": "http://other"}),
        ]

    def without_database(self) -> None:
        return None


class SharedSecretToken(AccessToken):
    """An HS256 token of C-06b: the same authenticator, another shape."""

    label = "local_jwt HS256"
    asks_database = False

    async def _issue(self, person: Person, life: timedelta | None = None) -> IssuedToken:
        tokens = self.service.app.core.tokens
        return await tokens.issue(about(person), Family.AUTH, session=person.token_session, life=life)

    async def meant_for_others(self) -> list[Bad]:
        person = await self.service.register()
        now = int(time.time())
        ours = {
            "sub": person.email,
            "uid": person.id,
            "iat": now,
            "exp": now + 60,
            "jti": "j",
            "sid": person.session_id,
        }

        def made(**claims: Any) -> dict[str, str]:
            return bearer(compact({"alg": "HS256", "typ": "JWT"}, ours | claims, hs(SHARED_SECRET.encode())))

        return [
            Bad("audience", made(aud="https://other.example.com"), "token_invalid"),
            Bad("issuer", made(iss="https://other.example.com"), "credential_unrecognised"),
            Bad("our own issuer, which this shape never names", made(iss=ISSUER), "token_invalid"),
        ]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the session ends", "token_revoked", sql=END),
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the secret is replaced", "token_invalid", environ={"AUTH_JWT_SECRET_KEY": root_secret()}),
            Revocation("the secret is removed", "credential_unrecognised", environ={"AUTH_JWT_SECRET_KEY": ""}),
        ]


class UpstreamToken(AuthenticatorCase):
    """A token of another issuer."""

    label = authenticator = "upstream_oidc"
    asks_database = True  # for the user of the identity

    def _token(self, **changes: Any) -> str:
        return self.world.issuer.token(**{"sub": secrets.token_hex(8)} | changes)

    async def good(self) -> Good:
        token = self._token()
        user = (await self.service.me(bearer(token))).json()
        return Good(bearer(token), Person(user["id"], "", "", token, user, "", ""))

    async def malformed(self) -> list[Bad]:
        header, payload, signature = self._token().split(".")
        return [
            Bad("a changed signature", bearer(f"{header}.{payload}.{flipped(signature)}"), "token_invalid"),
            Bad("no signature", bearer(f"{header}.{payload}."), "token_invalid"),
            Bad("a missing part", bearer(f"{header}.{payload}"), "credential_unrecognised"),
        ]

    async def expired(self) -> list[Bad]:
        return [Bad("beyond the leeway", bearer(self._token(exp=int(time.time()) - 31)), "token_expired")]

    async def meant_for_others(self) -> list[Bad]:
        return [
            Bad("audience", bearer(self._token(aud="another")), "token_invalid"),
            Bad("issuer", bearer(self._token(iss="https://other.example.com")), "credential_unrecognised"),
        ]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the audience changes", "token_invalid", environ={"AUTH_OIDC_AUDIENCE": "another"}),
            Revocation("the issuer is removed", "credential_unrecognised", environ={"AUTH_OIDC_ISSUER": ""}),
        ]

    def without_database(self) -> None:
        return None


class ClerkToken(AuthenticatorCase):
    """A session token of Clerk."""

    label = authenticator = "clerk_jwt"
    asks_database = False  # the resolver does, for the identity and its user at once

    def _token(self, user_id: str = "user_suite", **changes: Any) -> str:
        return CLERK.session_token(user_id, **changes)

    async def good(self) -> Good:
        user_id = f"user_{secrets.token_hex(8)}"
        token = self._token(user_id)
        user = await self.service.register()
        link = "INSERT INTO idp.identities (id, user_id, provider, subject, created_at) VALUES (gen_random_uuid(), "
        await self.service.sql(f"{link} $1, 'clerk', $2, now())", user.id, user_id)
        return Good(bearer(token), user)

    async def malformed(self) -> list[Bad]:
        header, payload, signature = self._token().split(".")
        pending = self._token(sts="pending")
        return [
            Bad("a changed signature", bearer(f"{header}.{payload}.{flipped(signature)}"), "token_invalid"),
            Bad("no signature", bearer(f"{header}.{payload}."), "token_invalid"),
            Bad("a missing part", bearer(f"{header}.{payload}"), "credential_unrecognised"),
            Bad("a cookie with a changed signature", {"Cookie": f"__session={header}.{payload}.{flipped(signature)}"},
                "token_invalid"),
            Bad("a session that is pending", bearer(pending), "clerk_session_pending"),
            Bad("an OAuth token", bearer(self._token(header={"typ": "at+jwt"})), "clerk_token_not_accepted"),
            Bad("an opaque API key", bearer("ak_" + "x" * 40), "clerk_token_not_accepted"),
        ]  # fmt: skip

    async def expired(self) -> list[Bad]:
        return [Bad("beyond the leeway", bearer(self._token(exp=int(time.time()) - 6)), "token_expired")]

    async def meant_for_others(self) -> list[Bad]:
        return [
            Bad("origin", bearer(self._token(azp="https://other.example.com")), "token_invalid"),
            Bad("no origin", bearer(self._token(azp=None)), "token_invalid"),
            Bad("issuer", bearer(self._token(iss="https://other.example.com")), "credential_unrecognised"),
        ]

    async def revocations(self) -> list[Revocation]:
        other = ClerkInstance(CLERK.issuer, new_state()).public_key
        return [
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation(
                "the origin is removed", "token_invalid", environ={"CLERK_AUTHORIZED_PARTIES": "https://b.example"}
            ),
            Revocation("the instance's key changes", "token_invalid", environ={"CLERK_JWT_KEY": other}),
            Revocation(
                "the instance is removed", "credential_unrecognised", environ={"CLERK_ISSUER": "", "CLERK_JWT_KEY": ""}
            ),
        ]

    def without_database(self) -> None:
        return None


class SessionCookie(AuthenticatorCase):
    """The cookie of `?mode=cookie`."""

    label = authenticator = "session_cookie"
    asks_database = False  # the resolver does, for the session and its user at once

    async def _sign_in(self) -> tuple[str, Person]:
        person = await self.service.register()
        body = {"email": person.email, "password": person.password}
        answer = await self.service.client.post("/auth/login?mode=cookie", json=body)
        assert answer.status_code == 200, answer.text
        secret = answer.cookies["idp_session"]
        self.service.client.cookies.clear()
        return secret, person

    async def good(self) -> Good:
        secret, person = await self._sign_in()
        return Good({"Cookie": f"idp_session={secret}"}, person)

    async def malformed(self) -> list[Bad]:
        secret, _ = await self._sign_in()
        wrong = {
            "one character changed": flipped(secret),
            "cut short": secret[:-1],
            "longer": secret + "A",
            "empty": "",
        }
        bad = [Bad(what, {"Cookie": f"idp_session={text}"}, "token_not_found") for what, text in wrong.items()]
        return [*bad, Bad("endless", {"Cookie": f"idp_session={'A' * 8000}"}, "token_invalid")]

    async def expired(self) -> list[Bad]:
        found = []
        for column in ("expires_at", "idle_expires_at"):
            secret, person = await self._sign_in()
            ended = f"UPDATE idp.user_sessions SET {column} = now() - interval '1 second' WHERE user_id = $1"
            await self.service.sql(ended, person.id)
            found.append(Bad(f"{column} a second ago", {"Cookie": f"idp_session={secret}"}, "token_expired"))
        return found

    async def meant_for_others(self) -> list[Bad]:
        text = secrets.token_urlsafe(32)
        return [Bad("another deployment's", {"Cookie": f"idp_session={text}"}, "token_not_found")]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the session ends", "token_revoked", sql=END),
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the root secret is replaced", "token_not_found", environ={"IDP_SECRET_KEY": root_secret()}),
        ]

    def without_database(self) -> None:
        return None


class AdminToken(AuthenticatorCase):
    """ADMIN_TOKEN (C-09)."""

    label = authenticator = "admin_token"
    asks_database = False

    async def good(self) -> Good:
        return Good(bearer(ADMIN_TOKEN), None)

    async def malformed(self) -> list[Bad]:
        wrong = {
            "one character changed": flipped(ADMIN_TOKEN),
            "one character more": ADMIN_TOKEN + "A",
            "one character less": ADMIN_TOKEN[:-1],
            "other letters": ADMIN_TOKEN.swapcase(),
            "its digest": hashlib.sha256(ADMIN_TOKEN.encode()).hexdigest(),
        }
        sent = {what: bearer(token) for what, token in wrong.items()} | {"empty": {"Authorization": "Bearer"}}
        return [Bad(what, headers, "credential_unrecognised") for what, headers in sent.items()]

    async def expired(self) -> NotApplicable:
        return NotApplicable("it is a setting, and lives until the setting changes")

    async def meant_for_others(self) -> NotApplicable:
        return NotApplicable("it names no issuer and no audience; another deployment has another one")

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the setting changes", "credential_unrecognised", environ={"ADMIN_TOKEN": root_secret()}),
            Revocation("the setting is removed", "credential_unrecognised", environ={"ADMIN_TOKEN": ""}),
        ]

    def without_database(self) -> NotApplicable:
        return NotApplicable("it is compared with a setting, and names no user")


class UserKey(AuthenticatorCase):
    """A key of a user (S0-14)."""

    label = "api_key of a user"
    authenticator = "api_key"
    asks_database = False  # the resolver does, for the key and its user at once

    async def _make(self) -> tuple[str, Person]:
        person = await self.service.register()
        body = {"name": "laptop", "scopes": ["ingest:write"]}
        # A token signed with the shared secret makes no keys (C-06b).
        token = await self.service.app.core.tokens.issue_asymmetric(about(person))
        answer = await self.service.client.post("/v1/api-keys", headers=bearer(token.token), json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["secret"], person

    async def good(self) -> Good:
        secret, person = await self._make()
        return Good({"X-API-Key": secret}, person)

    async def malformed(self) -> list[Bad]:
        secret, _ = await self._make()
        wrong = {
            "one character changed": flipped(secret),
            "cut short": secret[:-1],
            "longer": secret + "A",
            "look-alike letters": secret[:8] + secret[8:].translate(str.maketrans("0O1lI", "O0lI1")) + "0",
            "its prefix alone": "sk_live_",
            "its digest": "sk_live_" + hashlib.sha256(secret.encode()).hexdigest(),
            "endless": "sk_live_" + "A" * 8000,
        }
        return [Bad(what, {"X-API-Key": key}, "token_not_found") for what, key in wrong.items()]

    async def expired(self) -> list[Bad]:
        secret, person = await self._make()
        ended = "UPDATE idp.api_keys SET expires_at = now() - interval '1 second' WHERE user_id = $1"
        await self.service.sql(ended, person.id)
        return [Bad("a second ago", {"X-API-Key": secret}, "token_expired")]

    async def meant_for_others(self) -> list[Bad]:
        return [Bad("another deployment's", {"X-API-Key": generate("sk_live")}, "token_not_found")]

    async def revocations(self) -> list[Revocation]:
        revoke = "UPDATE idp.api_keys SET revoked_at = now() WHERE user_id = $1"
        return [
            Revocation("it is revoked", "token_revoked", sql=revoke),
            Revocation("it is deleted", "token_not_found", sql="DELETE FROM idp.api_keys WHERE user_id = $1"),
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the root secret is replaced", "token_not_found", environ={"IDP_SECRET_KEY": root_secret()}),
            Revocation(
                "the prefix changes", "credential_unrecognised", environ={"IDP_API_KEYS__USER_KEY_PREFIX": "pk_live"}
            ),
        ]

    def without_database(self) -> None:
        return None


class ServiceToken(UserKey):
    """A token of a service (S2-20): the same authenticator and table, without a user."""

    label = "api_key of a service"

    async def good(self) -> Good:
        token, _ = await self._token()
        return Good(bearer(token), None)

    async def _token(self) -> tuple[str, str]:
        body = {"name": secrets.token_hex(12), "scopes": ["read"]}
        answer = await self.service.client.post("/auth/tokens", headers=bearer(ADMIN_TOKEN), json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["token"], answer.json()["token_id"]

    async def malformed(self) -> list[Bad]:
        token, _ = await self._token()
        wrong = {"one character changed": flipped(token), "cut short": token[:-1], "empty": "amp_live_"}
        return [Bad(what, bearer(key), "token_not_found") for what, key in wrong.items()]

    async def expired(self) -> list[Bad]:
        token, token_id = await self._token()
        ended = "UPDATE idp.api_keys SET expires_at = now() - interval '1 second' WHERE id = $1::text::uuid"
        await self.service.sql(ended, token_id)
        return [Bad("a second ago", bearer(token), "token_expired")]

    async def meant_for_others(self) -> list[Bad]:
        return [Bad("another deployment's", bearer(generate("amp_live")), "token_not_found")]

    async def revocations(self) -> list[Revocation]:
        prefix = {"IDP_API_KEYS__SERVICE_TOKEN_PREFIX": "svc_live"}
        return [
            Revocation("the root secret is replaced", "token_not_found", environ={"IDP_SECRET_KEY": root_secret()}),
            Revocation("the prefix changes", "credential_unrecognised", environ=prefix),
        ]


class DevHeaders(AuthenticatorCase):
    """X-User-Email, under `idp dev` (S3-05)."""

    label = authenticator = "dev_headers"
    asks_database = True

    async def good(self) -> Good:
        person = await self.service.register()
        return Good({"X-User-Email": person.email}, person)

    async def malformed(self) -> list[Bad]:
        return [
            Bad("no address", {"X-User-Email": "pat"}, "dev_headers_malformed"),
            Bad("two addresses", {"X-User-Email": "a@example.com, b@example.com"}, "dev_headers_malformed"),
            Bad("a control character", {"X-User-Email": "a\tb@example.com"}, "dev_headers_malformed"),
            Bad("too long", {"X-User-Email": "a" * 300 + "@example.com"}, "dev_headers_malformed"),
            Bad("empty", {"X-User-Email": ""}, "dev_email_required", status=400),
            Bad("a name alone", {"X-User-Name": "Pat"}, "dev_email_required", status=400),
        ]

    async def expired(self) -> NotApplicable:
        return NotApplicable("headers carry no time")

    async def meant_for_others(self) -> list[Bad]:
        person = await self.service.register()
        hosts = ("idp.example.com", "localhost.example.com", "10.0.0.1", "auth-service:8001", "")
        return [
            Bad(f"sent to {host!r}", {"X-User-Email": person.email, "Host": host}, "dev_headers_malformed")
            for host in hosts
        ]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the setting is off", "unauthenticated", environ={"AUTH_ALLOW_DEV_HEADERS": "false"}),
        ]

    def without_database(self) -> None:
        return None


class GatewayAssertion(AuthenticatorCase):
    """The example plugin's header."""

    label = "plugin"
    authenticator = "gateway"
    asks_database = False

    def _headers(self, user_id: str, *, seconds: int = 30, issuer: str = ISSUER, secret: str = "") -> dict[str, str]:
        said = f"{issuer}\n{user_id}\n{int(time.time()) + seconds}"
        signature = hmac.new((secret or self.world.gateway_secret).encode(), said.encode(), hashlib.sha256).hexdigest()
        return {"X-Gateway-Assertion": f"{user_id}.{said.split(chr(10))[2]}.{signature}"}

    async def good(self) -> Good:
        person = await self.service.register()
        return Good(self._headers(person.id), person)

    async def malformed(self) -> list[Bad]:
        person, victim = await self.service.register(), await self.service.register()
        user_id, expiry, signature = self._headers(person.id)["X-Gateway-Assertion"].split(".")
        wrong = {
            "another user": f"{victim.id}.{expiry}.{signature}",
            "a later expiry": f"{user_id}.{int(expiry) + 1}.{signature}",
            "another signature": f"{user_id}.{expiry}.{flipped(signature)}",
            "another alphabet": f"{user_id}.{expiry}.{signature.upper()}",
            "no signature": f"{user_id}.{expiry}.",
            "two parts": f"{user_id}.{expiry}",
            "one part": user_id,
            "empty": "",
            "another letter for each": "é.é.é",
            "another secret": self._headers(person.id, secret="x" * 32)["X-Gateway-Assertion"],
            "nobody's name": ".".join(("", expiry, signature)),
        }
        return [Bad(what, {"X-Gateway-Assertion": text}, "token_invalid") for what, text in wrong.items()]

    async def expired(self) -> list[Bad]:
        person = await self.service.register()
        return [
            Bad("a second ago", self._headers(person.id, seconds=-1), "token_expired"),
            Bad("now", self._headers(person.id, seconds=0), "token_expired"),
            Bad(
                "in an hour, later than the gateway ever says", self._headers(person.id, seconds=3600), "token_invalid"
            ),
        ]

    async def meant_for_others(self) -> list[Bad]:
        person = await self.service.register()
        return [Bad("issuer", self._headers(person.id, issuer="https://other.example.com"), "token_invalid")]

    async def revocations(self) -> list[Revocation]:
        return [
            Revocation("the user is disabled", "user_inactive", sql=DISABLE),
            Revocation("the user is deleted", "user_inactive", sql=DELETE),
            Revocation("the plugin is no longer named", "unauthenticated", environ={"IDP_AUTHN__PLUGINS": ""}),
            Revocation("the issuer changes", "token_invalid", environ={"IDP_PUBLIC_URL": "http://other"}),
        ]

    def without_database(self) -> None:
        return None


CASES: tuple[type[AuthenticatorCase], ...] = (
    AccessToken,
    SharedSecretToken,
    UpstreamToken,
    ClerkToken,
    SessionCookie,
    AdminToken,
    UserKey,
    ServiceToken,
    DevHeaders,
    GatewayAssertion,
)


async def ask(service: Service, headers: Headers) -> httpx2.Response:
    """Call the one route that takes every kind of credential and needs nothing but the principal."""
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    return await service.client.get("/teams", headers=sent)
