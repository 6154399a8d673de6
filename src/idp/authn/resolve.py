"""Resolve a subject to a Principal: user or key with roles, teams and domains, in one query."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import checks, clock
from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.service import SERVICE_TOKEN
from idp.apikeys.shapes import key_id
from idp.apikeys.usage import Usage
from idp.authn.clients import ClientResolver
from idp.authn.imported_keys import ImportedKeys
from idp.authn.outcome import (
    Authenticated,
    ByClient,
    ByCookie,
    ByEmail,
    ByIdentity,
    ByKey,
    BySession,
    ByUserId,
    Person,
    Service,
)
from idp.authn.resolved import CachedReads, Resolved
from idp.authn.verdicts import Verdicts
from idp.authn.visible_user import visible_user
from idp.checks import holds
from idp.db.batch import BatchedRead
from idp.db.reads import Reads
from idp.db.snapshot import STAMP, Stamp
from idp.errors import (
    IdpError,
    TokenExpired,
    TokenInvalid,
    TokenNotFound,
    TokenRevoked,
    UserInactive,
    UserNotSynced,
)
from idp.principal.model import TWO_FACTORS, AuthMethod, Credential, Domain, Principal, Team, User
from idp.principal.permissions import ADMIN
from idp.users.email import email_key
from idp.users.identities import CLERK

_USER = """
       u.id, u.email, u.email_verified, u.name, u.avatar_url, u.login_type, u.plan, u.is_active,
       u.created_at, u.updated_at, u.deleted_at,
       ARRAY(SELECT role FROM idp.user_roles WHERE user_id = u.id ORDER BY role) AS roles,
       (SELECT coalesce(json_agg(json_build_object('id', t.id, 'name', t.name, 'external_ref', t.external_ref,
                                                   'is_active', t.is_active, 'role', m.role)
                                 ORDER BY t.name), '[]')::text
          FROM idp.team_memberships m JOIN idp.teams t ON t.id = m.team_id
         WHERE m.user_id = u.id AND t.is_active) AS teams,
       (SELECT coalesce(json_agg(json_build_object('id', d.id, 'key', d.key, 'name', d.name,
                                                   'parent_domain_id', d.parent_domain_id, 'is_active', d.is_active)
                                 ORDER BY d.key), '[]')::text
          FROM idp.user_domains a JOIN idp.domains d ON d.id = a.domain_id
         WHERE a.user_id = u.id AND d.is_active) AS domains"""
_SELECT_USER = f"SELECT {STAMP}, {_USER} FROM idp.users u "  # noqa: S608  constants
_BY_ID = _SELECT_USER + "WHERE u.id = ANY($1)"
_BY_ALIAS = _SELECT_USER + "JOIN idp.user_aliases a ON a.user_id = u.id WHERE a.alias = $1"
_BY_EMAIL = _SELECT_USER + "WHERE u.email_key = $1 AND u.deleted_at IS NULL"
_BY_IDENTITY = _SELECT_USER + "JOIN idp.identities i ON i.user_id = u.id WHERE i.provider = $1 AND i.subject = $2"
_SESSION = f"""
SELECT {STAMP}, s.id AS session_id, s.ended_at, s.expires_at, s.idle_expires_at, s.auth_time, s.amr, s.acr, s.actor_id,
       s.actor_id IS NULL OR EXISTS (
           SELECT FROM idp.users a JOIN idp.user_roles r ON r.user_id = a.id AND r.role = '{ADMIN}'
            WHERE a.id = s.actor_id AND a.is_active AND a.deleted_at IS NULL) AS actor_administers,
       s.cookie_digest, {_USER}
  FROM idp.user_sessions s JOIN idp.users u ON u.id = s.user_id
"""  # noqa: S608  constants
_BY_SESSION = _SESSION + "WHERE s.id = ANY($1::uuid[])"
_BY_COOKIE = _SESSION + "WHERE s.cookie_digest = ANY($1)"
_BY_KEY = f"""
SELECT {STAMP}, k.id AS key_id, k.kind, k.name AS key_name, k.scopes, k.expires_at, k.revoked_at, k.digest,
       k.former_digest, k.former_until, {_USER}
  FROM idp.api_keys k LEFT JOIN idp.users u ON u.id = k.user_id
 WHERE k.digest = ANY($1) OR k.former_digest = ANY($1)
"""  # noqa: S608  constants
_LOAD = text(_SELECT_USER + "WHERE u.id = :user_id")
_ANY_TOKEN = Credential(method=AuthMethod.LOCAL_JWT)
Row = Any  # a record of asyncpg, or a row mapping of SQLAlchemy


class Resolver:
    """Resolves authenticated subjects.

    Attributes:
        clients: resolves OAuth clients.
    """

    def __init__(
        self, reads: Reads, *, imported: ImportedKeys, policy: ScopePolicy, usage: Usage, verdicts: Verdicts
    ) -> None:
        self._verdicts = verdicts
        self._cached = CachedReads(verdicts)
        self.clients = ClientResolver(reads, self._cached, verdicts)
        self._imported = imported
        self._reads = reads
        self._people = BatchedRead(self._reads, _BY_ID, keys_of=lambda row: (row["id"],))
        self._sessions = BatchedRead(self._reads, _BY_SESSION, keys_of=lambda row: (str(row["session_id"]),))
        self._keys = BatchedRead(self._reads, _BY_KEY, keys_of=lambda row: (row["digest"], row["former_digest"]))
        self._policy = policy
        self._usage = usage

    async def resolve(self, authenticated: Authenticated, *, confirm: bool = False) -> Resolved:
        """Return the principal, or `TokenNotFound`, `TokenRevoked`, `TokenExpired` or `UserInactive` (SEC-19).

        Args:
            authenticated: the authenticator's outcome.
            confirm: ignore verdicts from Valkey.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        trace = checks.current()
        if trace is not None:
            trace.begin("subject")
        subject, credential = authenticated.subject, authenticated.credential
        if isinstance(subject, ByKey):
            return await self._resolve_key(subject)
        if isinstance(subject, ByCookie):
            return await self._resolve_cookie(subject)
        assert credential is not None
        if isinstance(subject, ByClient):
            return await self.clients.of_token(subject, credential)
        if isinstance(subject, Service):
            return Resolved(principal=Principal(user=None, credential=credential))
        if isinstance(subject, BySession):
            return _bind_to_session(
                await self._cached_session(subject.session_id, confirm), subject.user_id, credential
            )
        if isinstance(subject, ByUserId) and authenticated.cacheable:
            return _with_credential(await self._cached_user(subject, confirm), credential)
        return _with_credential(await self._read_user(subject), credential)

    async def user(self, user_id: str) -> User:
        """Return a user, possibly from the cache.

        Raises:
            TokenNotFound: no user has this id.
            UserInactive: the user is disabled or deleted.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        known = await self._cached_user(ByUserId(user_id), confirm=False)
        if known.principal is None or known.principal.user is None:
            raise known.error or TokenNotFound
        return known.principal.user

    async def signed_in_now(self, user_id: str) -> Principal:
        """Return the principal that a user would be right after a sign-in with all they have, for explanations.

        Raises:
            TokenNotFound, UserInactive, DatabaseUnavailable: as `user`.
        """
        now = clock.now()
        credential = Credential(method=AuthMethod.LOCAL_JWT, auth_time=now, acr=TWO_FACTORS)
        return Principal(await self.user(user_id), credential)

    async def _cached_user(self, subject: ByUserId, confirm: bool) -> Resolved:
        """Resolve a user by id; users are cached separately from credentials."""
        name = self._verdicts.name_of_user(subject.user_id)
        return await self._cached.get(name, "user", lambda: self._read_user(subject), confirm)

    async def _cached_session(self, session_id: UUID, confirm: bool) -> Resolved:
        """Resolve a session by id; sessions are cached separately from credentials."""
        name = self._verdicts.name_of_session(str(session_id))
        return await self._cached.get(name, "session", lambda: self._read_session(str(session_id)), confirm)

    async def _read_session(self, session_id: str) -> Resolved:
        row = await self._sessions.find(session_id)
        _has_found(row, "session")
        return Resolved(error=TokenRevoked()) if row is None else _session(row, AuthMethod.LOCAL_JWT)

    async def _resolve_cookie(self, subject: ByCookie) -> Resolved:
        row = await self._reads.fetchrow(_BY_COOKIE, list(subject.digests))
        _has_found(row, "session")
        return Resolved(error=TokenNotFound()) if row is None else _session(row, AuthMethod.SESSION_COOKIE)

    async def _read_user(self, subject: Person) -> Resolved:
        row = await self._find(subject)
        _has_found(row, "user")
        if row is None:
            return Resolved(error=UserNotSynced() if _is_of_clerk(subject) else TokenNotFound())
        stamp, depends_on = Stamp.parse(row["instance"], row["snapshot"]), (f"user:{row['id']}",)
        try:
            return Resolved(Principal(user=_user(row), credential=_ANY_TOKEN), None, stamp, depends_on)
        except UserInactive as error:
            return Resolved(None, error, stamp, depends_on)

    async def _find(self, subject: Person) -> Row | None:
        match subject:
            case ByUserId(user_id):
                row = await self._people.find(user_id)
                # A former id, if an import linked two accounts (docs/decisions/0054).
                return row if row is not None else await self._reads.fetchrow(_BY_ALIAS, user_id)
            case ByIdentity(provider, name):
                return await self._reads.fetchrow(_BY_IDENTITY, provider, name)
            case ByEmail(email):
                return await self._reads.fetchrow(_BY_EMAIL, email_key(email))

    async def _resolve_key(self, subject: ByKey) -> Resolved:
        row, digests = await self._keys.find(*subject.digests), subject.digests
        if row is None and (imported := await self._imported.find_digest(subject.secret)):
            row, digests = await self._keys.find(imported), (subject.digests[0], imported)
        _has_found(row, "key")
        if row is None:
            return Resolved(error=TokenNotFound())
        stamp = Stamp.parse(row["instance"], row["snapshot"])
        is_current = row["digest"] in digests
        depends_on = (f"credential:{row['key_id']}", *([f"user:{row['id']}"] if row["id"] else []))
        try:
            principal = self._principal_of_key(row, is_current=is_current)
        except IdpError as error:
            return Resolved(None, error, stamp, depends_on)
        if is_current and row["digest"] != subject.digests[0]:
            self._usage.redigest(row["key_id"], before=row["digest"], after=subject.digests[0])
        return Resolved(principal, None, stamp, depends_on, row["key_id"])

    def _principal_of_key(self, row: Row, *, is_current: bool) -> Principal:
        now = clock.now()
        ends = [row["expires_at"]] if is_current else [row["expires_at"], row["former_until"]]
        expires_at = min((end for end in ends if end is not None), default=None)
        if not holds(row["revoked_at"] is None, "key revoked at", row["revoked_at"] or "never", "never"):
            raise TokenRevoked
        former_until = row["former_until"]
        if not is_current and not checks.is_later(former_until > now, "former secret valid until", former_until, now):
            raise TokenRevoked
        is_live = expires_at is None or expires_at > now
        if not checks.is_later(is_live, "key expires at", expires_at, now):
            assert expires_at is not None
            raise TokenExpired(f"Token expired at {expires_at.isoformat()}")
        if row["kind"] == SERVICE_TOKEN:
            user, method, identifier = None, AuthMethod.SERVICE_TOKEN, str(row["key_id"])
            scopes = tuple(row["scopes"])
        else:
            user, method, identifier = _user(row), AuthMethod.API_KEY, key_id(row["key_id"])
            scopes = self._policy.held(row["scopes"], user.roles)
        credential = Credential(
            method=method, id=identifier, name=row["key_name"], scopes=scopes, expires_at=expires_at
        )
        return Principal(user=user, credential=credential)


async def load_user(session: AsyncSession, user_id: str) -> User:
    """Return a user as in a principal, within the caller's transaction.

    Raises:
        TokenNotFound: no user has this id.
        UserInactive: the user is disabled or deleted.
    """
    row = (await session.execute(_LOAD, {"user_id": user_id})).mappings().first()
    if row is None:
        raise TokenNotFound
    return _user(row)


def _has_found(row: Row | None, what: str) -> None:
    """Record a read of the database for an explanation."""
    checks.has_read(what, "database")
    holds(row is not None, what, "found" if row is not None else "not found", "found")
    if row is not None and row["id"] is not None:
        checks.proves(f"user:{row['id']}")


def _with_credential(known: Resolved, credential: Credential) -> Resolved:
    """Return a cached user with the current credential."""
    if known.principal is None:
        return known
    return msgspec.structs.replace(known, principal=Principal(known.principal.user, credential))


def _bind_to_session(known: Resolved, user_id: str, credential: Credential) -> Resolved:
    """Return the session's user with a token that must name the same session and user."""
    if known.principal is None or known.principal.user is None:
        return known
    if not holds(known.principal.user.id == user_id, "uid", user_id, "the user of the session"):
        return Resolved(error=TokenInvalid())
    login = known.principal.credential
    ends = [end for end in (credential.expires_at, login.expires_at) if end is not None]
    merged = msgspec.structs.replace(
        credential,
        expires_at=min(ends),
        session_id=login.session_id,
        auth_time=login.auth_time,
        amr=login.amr,
        acr=login.acr,
        impersonator=login.impersonator,
    )
    user = known.principal.user
    if credential.method == AuthMethod.OAUTH_TOKEN:
        user = visible_user(user, credential.scopes)
    return msgspec.structs.replace(known, principal=Principal(user, merged))


def _session(row: Row, method: AuthMethod) -> Resolved:
    stamp = Stamp.parse(row["instance"], row["snapshot"])
    users = (row["id"], row["actor_id"]) if row["actor_id"] is not None else (row["id"],)
    depends_on = (f"session:{row['session_id']}", *(f"user:{each}" for each in users))
    expires_at = min(row["expires_at"], row["idle_expires_at"])
    try:
        user = _user(row)  # first: `user_inactive` takes precedence over the ended session
        if not holds(row["ended_at"] is None, "session ended at", row["ended_at"] or "never", "never"):
            raise TokenRevoked
        administers = row["actor_administers"]
        if not holds(administers, "actor", "an administrator" if administers else "none any more", "an administrator"):
            raise TokenRevoked
        now = clock.now()
        if not checks.is_later(expires_at > now, "session expires at", expires_at, now):
            raise TokenExpired
        credential = Credential(
            method=method,
            id=str(row["session_id"]),
            expires_at=expires_at,
            session_id=str(row["session_id"]),
            auth_time=row["auth_time"],
            amr=tuple(row["amr"]),
            acr=row["acr"],
            impersonator=row["actor_id"],
        )
        return Resolved(Principal(user=user, credential=credential), None, stamp, depends_on)
    except IdpError as error:
        return Resolved(None, error, stamp, depends_on)


def _is_of_clerk(subject: Person) -> bool:
    """Whether a webhook creates the user, and may not have arrived yet (S1-17)."""
    return isinstance(subject, ByIdentity) and subject.provider == CLERK


def _user(row: Row) -> User:
    is_active = row["is_active"] and row["deleted_at"] is None
    if not holds(is_active, "user", "active" if is_active else "disabled or deleted", "active"):
        raise UserInactive
    return User(
        id=row["id"],
        email=row["email"],
        email_verified=row["email_verified"],
        name=row["name"],
        avatar_url=row["avatar_url"],
        login_type=row["login_type"],
        plan=row["plan"],
        is_active=row["is_active"],
        roles=tuple(row["roles"]),
        teams=msgspec.json.decode(row["teams"], type=tuple[Team, ...]),
        domains=msgspec.json.decode(row["domains"], type=tuple[Domain, ...]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
