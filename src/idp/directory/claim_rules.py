"""Claim rules: what the claims of another issuer's token give (`[[oidc.providers.<name>.rules]]`, decision 0044).

Pure functions of the rules and the claims; `accounts/foreign_users.py` applies the result.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from idp.principal.permissions import ADMIN
from idp.settings_schema import ClaimRule

Kind = Literal["team", "team_ref", "domain", "role"]
_TEAM_ADMIN = ":admin"


class Grant(Struct, frozen=True, order=True):
    """A membership or role that a rule gives.

    Attributes:
        kind: a team by name, a team by `external_ref`, a domain by key, or a role.
        name: its name, reference or key.
        claim: the claim that the rule reads.
        is_admin: whether the member is an administrator of the team.
    """

    kind: Kind
    name: str
    claim: str
    is_admin: bool = False


class Evaluation(Struct, frozen=True):
    """The result of all rules of an issuer for one token.

    Attributes:
        granted: what the claims give.
        undecided: what rules would give whose claim is unknown: an earlier grant of it stays.
        undecided_claims: unknown claims whose every value names a team or domain: what they gave stays.
        decided: whether a claim is known that a rule reads.
        digest: of the rules and of the claims that they read; None without rules.
        issued_at: when the token was issued.
    """

    granted: frozenset[Grant] = frozenset()
    undecided: frozenset[Grant] = frozenset()
    undecided_claims: frozenset[str] = frozenset()
    decided: bool = False
    digest: str | None = None
    issued_at: datetime | None = None

    @property
    def is_undecided(self) -> bool:
        """Whether there are rules, and no claim that any of them reads is known."""
        return self.digest is not None and not self.decided


def evaluate(rules: Sequence[ClaimRule], claims: Mapping[str, Any], *, issued_at: datetime | None) -> Evaluation:
    """Evaluate the rules of an issuer.

    Args:
        rules: of the issuer.
        claims: of a verified token.
        issued_at: when the token was issued, if it says so.
    """
    if not rules:
        return Evaluation(issued_at=issued_at)
    granted: set[Grant] = set()
    undecided: set[Grant] = set()
    undecided_claims: set[str] = set()
    read: dict[str, list[str] | None] = {}
    decided = False
    for rule in rules:
        values = read.setdefault(rule.claim, _sorted(claim_values(claims, rule.claim)))
        if values is None and rule.absent_is_empty and _is_absent(claims, rule.claim):
            values, decided = [], True
        if values is None:
            undecided.update(_fixed_grants(rule))
            if _by_value(rule):
                undecided_claims.add(rule.claim)
            continue
        if not set(rule.values).isdisjoint(values):
            granted.update(_fixed_grants(rule))
        storable = [value for value in values if "\x00" not in value]  # no team or domain in PostgreSQL has NUL
        granted.update(Grant(kind, value, rule.claim) for kind in _by_value(rule) for value in storable)
    digest = hashlib.sha256(msgspec.json.encode([rules, read], order="deterministic")).hexdigest()
    decided = decided or any(values is not None for values in read.values())
    return Evaluation(frozenset(granted), frozenset(undecided), frozenset(undecided_claims), decided, digest, issued_at)


def claim_values(claims: Mapping[str, Any], path: str) -> frozenset[str] | None:
    """Return the values of a claim; None if they are unknown.

    Unknown are absent claims, null, numbers, lists with other members than text, and claims that the issuer has left
    out because there are too many values (Microsoft Entra ID's overage).

    Args:
        claims: of a verified token.
        path: a name, or names with dots between them; names may contain dots themselves.
    """
    if _is_left_out(claims, path):
        return None
    match find_claim(claims, path):
        case bool() as switch:
            return frozenset({str(switch).lower()})
        case str() as text:
            return frozenset({text})
        case list() as listed if all(isinstance(each, str) for each in listed):
            return frozenset(listed)
        case dict() as table:  # Zitadel: roles are the names of members
            return frozenset(table)
    return None


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its path, None if absent; the longest name that is a member comes first."""
    if path in claims:
        return claims[path]
    for name in sorted((name for name in claims if path.startswith(f"{name}.")), key=len, reverse=True):
        inner = claims[name]
        if isinstance(inner, Mapping) and (found := find_claim(inner, path.removeprefix(f"{name}."))) is not None:
            return found
    return None


def _is_absent(claims: Mapping[str, Any], path: str) -> bool:
    return find_claim(claims, path) is None and not _is_left_out(claims, path)


def _is_left_out(claims: Mapping[str, Any], path: str) -> bool:
    """Whether the claim is only referred to: `_claim_names`, or `hasgroups` (Microsoft Entra ID)."""
    referred = claims.get("_claim_names")
    if isinstance(referred, Mapping) and path in referred:
        return True
    return path == "groups" and claims.get("hasgroups") in {True, "true"}


def _sorted(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)


def _fixed_grants(rule: ClaimRule) -> Iterator[Grant]:
    for team in rule.teams:
        yield Grant("team", team.removesuffix(_TEAM_ADMIN), rule.claim, team.endswith(_TEAM_ADMIN))
    for domain in rule.domains:
        yield Grant("domain", domain, rule.claim)
    for role in rule.roles:
        yield Grant("role", role, rule.claim)


def _by_value(rule: ClaimRule) -> list[Kind]:
    kinds: dict[Kind, bool] = {"team_ref": rule.teams_by_external_ref, "domain": rule.domains_by_key}
    return [kind for kind, is_meant in kinds.items() if is_meant]


def rule_problems(rule: ClaimRule) -> list[str]:
    """Return a sentence for each reason why a rule cannot be used."""
    named = [*rule.teams, *rule.domains, *rule.roles]
    by_value = rule.teams_by_external_ref or rule.domains_by_key
    problems = []
    if not rule.claim or not all(rule.values) or not all(named):
        problems.append("an empty text names nothing: remove it.")
    if not named and not by_value:
        problems.append(f"the rule for {rule.claim} gives nothing: add teams, domains or roles.")
    if bool(named) != bool(rule.values):
        problems.append(f"the rule for {rule.claim} needs both values and what they give.")
    if ADMIN in rule.roles and not rule.allow_admin_role:
        problems.append(
            f"the rule for {rule.claim} gives the role admin, which administers this service: "
            "set allow_admin_role = true if that is meant."
        )
    return problems
