"""Subject -> Principal: the user with roles, teams and domains, in one query. Only this builds a Principal."""

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.authn.outcome import Authenticated, ByEmail, ByIdentity, ByUserId, Service
from idp.db.engine import Database
from idp.errors import TokenNotFound, UserInactive
from idp.principal.model import Domain, Principal, Team, User
from idp.users.email import email_key

_SELECT = """
SELECT u.id, u.email, u.email_verified, u.name, u.avatar_url, u.login_type, u.plan, u.is_active,
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
         WHERE a.user_id = u.id AND d.is_active) AS domains
  FROM idp.users u
"""
_BY_ID = text(_SELECT + "WHERE u.id = :user_id")
_BY_EMAIL = text(_SELECT + "WHERE u.email_key = :key AND u.deleted_at IS NULL")
_BY_IDENTITY = text(
    _SELECT + "JOIN idp.identities i ON i.user_id = u.id WHERE i.provider = :provider AND i.subject = :subject"
)


class Resolver:
    """Finds out what an authenticated subject is in this organisation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def resolve(self, authenticated: Authenticated) -> Principal:
        """Return the principal.

        Raises:
            TokenNotFound: the credential names nobody.
            UserInactive: the user is disabled or deleted (SEC-19).
            DatabaseUnavailable: PostgreSQL is away.
        """
        if isinstance(authenticated.subject, Service):
            return Principal(user=None, credential=authenticated.credential)
        async with self._database.transaction() as session:
            user = await _find(session, authenticated.subject)
        if user is None:
            raise TokenNotFound
        return Principal(user=user, credential=authenticated.credential)


async def load_user(session: AsyncSession, user_id: str) -> User:
    """Return a user as a principal shows them, within the caller's transaction.

    Raises:
        TokenNotFound: nobody has this id.
        UserInactive: the user is disabled or deleted.
    """
    user = await _find(session, ByUserId(user_id))
    if user is None:
        raise TokenNotFound
    return user


async def _find(session: AsyncSession, subject: ByUserId | ByIdentity | ByEmail) -> User | None:
    match subject:
        case ByUserId(user_id):
            result = await session.execute(_BY_ID, {"user_id": user_id})
        case ByIdentity(provider, name):
            result = await session.execute(_BY_IDENTITY, {"provider": provider, "subject": name})
        case ByEmail(email):
            result = await session.execute(_BY_EMAIL, {"key": email_key(email)})
    row = result.mappings().first()
    return None if row is None else _user(row)


def _user(row: RowMapping) -> User:
    if not row["is_active"] or row["deleted_at"] is not None:
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
