"""Applies what claim rules give: memberships in teams and domains. The caller's transaction has locked the user."""

from collections.abc import Iterable, Mapping, Set
from uuid import UUID

import structlog
from msgspec import Struct
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.directory.claim_rules import Evaluation, Grant, Kind
from idp.directory.domain_users import DOMAIN_USERS
from idp.directory.models import DomainRow, TeamMembershipRow, TeamRow, UserDomainRow
from idp.directory.shapes import MemberRole
from idp.directory.team_members import TEAM_MEMBERS
from idp.principal.sources import of_rules

log = structlog.get_logger("idp.directory")


class _Held(Struct, frozen=True):
    """A membership that the user has; `source` is None for memberships from before sources were kept."""

    source: str | None
    is_admin: bool = False


class _Wanted(Struct, frozen=True):
    """A membership that the rules give."""

    source: str
    is_admin: bool = False


async def apply(session: AsyncSession, origin: Origin, user_id: str, evaluation: Evaluation, provider: str) -> bool:
    """Give a user what the rules grant, and take away what they gave before and do not grant any more.

    Memberships with another source stay as they are. Teams and domains that do not exist, or are inactive, are skipped.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        user_id: the user.
        evaluation: the result of the rules.
        provider: the issuer that the rules belong to.

    Returns:
        Whether a membership was taken away.
    """
    in_teams = await _apply_teams(session, origin, user_id, evaluation, provider)
    in_domains = await _apply_domains(session, origin, user_id, evaluation, provider)
    return in_teams or in_domains


async def _apply_teams(
    session: AsyncSession, origin: Origin, user_id: str, evaluation: Evaluation, provider: str
) -> bool:
    rows = select(TeamMembershipRow.team_id, TeamMembershipRow.source, TeamMembershipRow.role)
    found = await session.execute(rows.where(TeamMembershipRow.user_id == user_id))
    held = {team_id: _Held(source, role == "admin") for team_id, source, role in found}
    wanted = _by_id(await _teams(session, evaluation.granted), held, provider)
    undecided = _by_id(await _teams(session, evaluation.undecided), held, provider)
    for team_id in undecided.keys() & held.keys() & wanted.keys():  # still an admin, as far as is known
        is_admin = wanted[team_id].is_admin or (held[team_id].is_admin and undecided[team_id].is_admin)
        wanted[team_id] = _Wanted(wanted[team_id].source, is_admin)
    for team_id in _to_put(wanted, held, provider):
        role: MemberRole | None = "admin" if wanted[team_id].is_admin else None
        await TEAM_MEMBERS.put(session, origin, team_id, user_id, role, source=wanted[team_id].source)
    gone = _to_remove(wanted.keys() | undecided.keys(), held, evaluation, provider)
    for team_id in gone:
        await TEAM_MEMBERS.remove(session, origin, team_id, user_id)
    return bool(gone)


async def _apply_domains(
    session: AsyncSession, origin: Origin, user_id: str, evaluation: Evaluation, provider: str
) -> bool:
    rows = select(UserDomainRow.domain_id, UserDomainRow.source).where(UserDomainRow.user_id == user_id)
    held = {domain_id: _Held(source) for domain_id, source in await session.execute(rows)}
    wanted = _by_id(await _domains(session, evaluation.granted), held, provider)
    undecided = _by_id(await _domains(session, evaluation.undecided), held, provider)
    for domain_id in _to_put(wanted, held, provider):
        await DOMAIN_USERS.put(session, origin, domain_id, user_id, source=wanted[domain_id].source)
    gone = _to_remove(wanted.keys() | undecided.keys(), held, evaluation, provider)
    for domain_id in gone:
        await DOMAIN_USERS.remove(session, origin, domain_id, user_id)
    return bool(gone)


async def _teams(session: AsyncSession, grants: frozenset[Grant]) -> list[tuple[UUID, Grant]]:
    """Return the active teams that grants name; locked against deletion."""
    named, referenced = _by_name(grants, "team"), _by_name(grants, "team_ref")
    if not named and not referenced:
        return []
    is_meant = or_(TeamRow.name.in_(named), TeamRow.external_ref.in_(referenced))
    rows = select(TeamRow.id, TeamRow.name, TeamRow.external_ref).where(is_meant, TeamRow.is_active)
    query = rows.order_by(TeamRow.id).with_for_update(read=True, key_share=True)
    found = (await session.execute(query)).all()
    _warn_unknown("team", named.keys() - {name for _, name, _ in found})
    return [
        (team_id, grant)
        for team_id, name, reference in found
        for grant in [*named.get(name, ()), *referenced.get(reference or "", ())]
    ]


async def _domains(session: AsyncSession, grants: frozenset[Grant]) -> list[tuple[UUID, Grant]]:
    """Return the active domains that grants name; locked against deletion."""
    named = _by_name(grants, "domain")
    if not named:
        return []
    rows = select(DomainRow.id, DomainRow.key).where(DomainRow.key.in_(named), DomainRow.is_active)
    found = await session.execute(rows.order_by(DomainRow.id).with_for_update(read=True, key_share=True))
    return [(domain_id, grant) for domain_id, key in found for grant in named[key]]


def _by_name(grants: Iterable[Grant], kind: Kind) -> dict[str, list[Grant]]:
    named: dict[str, list[Grant]] = {}
    for grant in grants:
        if grant.kind == kind:
            named.setdefault(grant.name, []).append(grant)
    return named


def _warn_unknown(kind: Kind, names: Set[str]) -> None:
    for name in sorted(names):
        log.warning("a claim rule gives what does not exist or is inactive", kind=kind, name=name)


def _by_id(found: Iterable[tuple[UUID, Grant]], held: Mapping[UUID, _Held], provider: str) -> dict[UUID, _Wanted]:
    """Return what to give by id; the source stays while its claim still grants it."""
    wanted: dict[UUID, _Wanted] = {}
    for group_id, grant in sorted(found):
        source = of_rules(provider, grant.claim)
        before = wanted.get(group_id)
        present = held[group_id].source if group_id in held else None
        kept = before.source if before is not None and source != present else source
        wanted[group_id] = _Wanted(kept, grant.is_admin or (before is not None and before.is_admin))
    return wanted


def _to_put(wanted: Mapping[UUID, _Wanted], held: Mapping[UUID, _Held], provider: str) -> list[UUID]:
    return sorted(
        group_id
        for group_id, grant in wanted.items()
        if group_id not in held
        or (_is_of(held[group_id], provider) and held[group_id] != _Held(grant.source, grant.is_admin))
    )


def _to_remove(kept: Iterable[UUID], held: Mapping[UUID, _Held], evaluation: Evaluation, provider: str) -> list[UUID]:
    unknown = {of_rules(provider, claim) for claim in evaluation.undecided_claims}
    ours = {group_id for group_id, each in held.items() if _is_of(each, provider) and each.source not in unknown}
    return sorted(ours.difference(kept))


def _is_of(held: _Held, provider: str) -> bool:
    return held.source is not None and held.source.startswith(of_rules(provider))
