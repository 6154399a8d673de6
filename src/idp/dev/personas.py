"""Personas, the demo users of `idp dev`: created once, with a new access token at every start."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import SYSTEM
from idp.authn.resolve import load_user
from idp.db.engine import Database
from idp.dev.kept_password import KeptPassword
from idp.directory.domain_users import DOMAIN_USERS
from idp.directory.domains import DOMAINS
from idp.directory.seed import SeedFile, SeedPersona
from idp.directory.shapes import MemberRole
from idp.directory.team_members import TEAM_MEMBERS
from idp.directory.teams import TEAMS
from idp.errors import UserInactive
from idp.principal.sources import SEED
from idp.sessions import service as sessions
from idp.settings import SettingsError
from idp.signing.jwt import TokenService, TokenSession, TokenUser
from idp.users import credentials
from idp.users import service as users
from idp.users.models import RoleRow
from idp.users.passwords import Passwords
from idp.users.user_events import publish_changed, publish_created

TOKEN_LIFE = timedelta(hours=12)
DEVICE = "idp dev"  # what the sessions of these tokens say about their device


class Persona(Struct, frozen=True):
    """A persona as in `dev.json`: teams by name, domains by key."""

    email: str
    name: str
    password: str
    roles: tuple[str, ...]
    teams: tuple[str, ...]
    domains: tuple[str, ...]
    access_token: str
    leads: frozenset[str] = frozenset()
    """The teams with the role admin, for the banner; not in `dev.json`."""
    password_version: int = 0
    """The account's password version, for `passwords.json`."""
    restored: bool = False
    """Whether the password had been changed, and this start restored it."""


def new_password() -> str:
    """Generate a password that is easy to copy and type."""
    return "-".join(secrets.token_hex(2) for _ in range(3))


async def prepare(
    database: Database, passwords: Passwords, tokens: TokenService, seed: SeedFile, known: Mapping[str, KeptPassword]
) -> list[Persona]:
    """Create missing personas and sign a token for each; disabled ones are omitted.

    Args:
        database: migrated and seeded.
        passwords: hashes new ones.
        tokens: signs access tokens.
        seed: their definitions.
        known: passwords of earlier starts by e-mail; changed ones are restored, so that the printed ones work.
    """
    found = [
        await _prepare(database, passwords, tokens, persona, known.get(persona.email)) for persona in seed.personas
    ]
    return [persona for persona in found if persona is not None]


async def _prepare(
    database: Database, passwords: Passwords, tokens: TokenService, wanted: SeedPersona, known: KeptPassword | None
) -> Persona | None:
    password = known.password if known else new_password()
    async with database.transaction() as session:
        user_id = await users.find_id_by_email(session, wanted.email)
        holder = await credentials.find_by_id(session, user_id) if user_id else None
    changed = holder is not None and known is not None and holder.password_version != known.version
    if user_id is None or known is None or changed:  # new, or the password differs
        password_hash = await passwords.hash(password)
        async with database.transaction() as session:
            if user_id is None:
                user_id = await _create(session, wanted, password_hash)
            else:
                await users.set_password(session, user_id, password_hash)
                await publish_changed(session, SYSTEM, user_id, "password")
    try:
        async with database.transaction() as session:
            user = await load_user(session, user_id)
            holder = await credentials.find_by_id(session, user_id)
            started = await _begin_session(session, user_id, holder)
    except UserInactive:
        return None
    about = TokenUser(id=user.id, email=user.email, email_verified=user.email_verified, roles=user.roles)
    token = await tokens.issue_asymmetric(about, session=started, life=TOKEN_LIFE)
    return Persona(
        email=wanted.email,
        name=wanted.name,
        password=password,
        roles=user.roles,
        teams=tuple(team.name for team in user.teams),
        domains=tuple(domain.key for domain in user.domains),
        access_token=token.token,
        leads=frozenset(team.name for team in user.teams if team.role == "admin"),
        password_version=holder.password_version if holder else 0,
        restored=changed,
    )


async def _begin_session(session: AsyncSession, user_id: str, holder: credentials.Holder | None) -> TokenSession | None:
    """Start a session for the token of this start; earlier ones expire."""
    if holder is None:
        return None
    seconds = int(TOKEN_LIFE.total_seconds()) + 60  # the token is signed slightly later
    life = sessions.Lifetime(idle_seconds=seconds, seconds=seconds)
    device = sessions.Device(info=DEVICE)
    version = holder.password_version
    new_session = await sessions.start(session, user_id, device, life, password_version=version, amr=("pwd",))
    if new_session is None:
        return None
    login = new_session.login
    return TokenSession(login.session_id, login.auth_time, login.amr, login.acr, login.expires_at)


async def _create(session: AsyncSession, wanted: SeedPersona, password_hash: str) -> str:
    extra = [{"name": role, "description": ""} for role in wanted.roles]
    await session.execute(insert(RoleRow).values(extra).on_conflict_do_nothing())
    user_id = await users.create(
        session, email=wanted.email, name=wanted.name, password_hash=password_hash, roles=wanted.roles, source=SEED
    )
    await credentials.mark_verified(session, user_id)  # so that /api/auth/login accepts the user
    await publish_created(session, SYSTEM, user_id, login_type="email")
    team_ids = {team.name: team.id for team in (await TEAMS.list_active(session, limit=None, offset=0))[0]}
    for entry in wanted.teams:
        name, _, role = entry.partition(":")
        membership: MemberRole | None = "admin" if role == "admin" else None
        team_id = _known(team_ids, name, f"the team {name!r}", wanted)
        await TEAM_MEMBERS.put(session, SYSTEM, team_id, user_id, membership, source=SEED)
    domain_ids = {domain.key: domain.id for domain in (await DOMAINS.list_active(session, limit=None, offset=0))[0]}
    for key in wanted.domains:
        domain_id = _known(domain_ids, key, f"the domain {key!r}", wanted)
        await DOMAIN_USERS.put(session, SYSTEM, domain_id, user_id, source=SEED)
    return user_id


def _known(ids: Mapping[str, UUID], name: str, what: str, wanted: SeedPersona) -> UUID:
    if name not in ids:
        raise SettingsError([f"The seed file assigns {wanted.email} to {what}, which does not exist: add it there."])
    return ids[name]
