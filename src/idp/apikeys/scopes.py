"""Which scopes a credential may carry (C-09, C-29, C-32)."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta

from idp.errors import ScopeNotGrantable
from idp.ops.problems import invalid
from idp.principal.permissions import RESERVED_PREFIX, RESERVED_SCOPES
from idp.settings_schema import ApiKeys

# RFC 6749 section 3.3: printable ASCII without space, quotation mark and backslash. Commas are allowed.
# `$` alone also matches before a line break at the end.
Scope = Annotated[
    str, Meta(min_length=1, max_length=256, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+(?!\n)$", examples=["ingest:write"])
]
Scopes = Annotated[
    list[Scope],
    Meta(
        max_length=100, description="RFC 6749 scope names, at most 100.", examples=[["ingest:write", "analytics:read"]]
    ),
]
_ANY = "*"


class ScopePolicy:
    """Decides which scopes users may grant to their keys: some for everyone, more by role.

    Args:
        settings: `grantable_scopes` and `role_scopes`; `*` means every scope that is not reserved.
    """

    def __init__(self, settings: ApiKeys) -> None:
        self._everyone = frozenset(settings.grantable_scopes)
        self._by_role = {role: frozenset(scopes) for role, scopes in settings.role_scopes.items()}

    def held(self, scopes: Iterable[str], roles: Iterable[str]) -> tuple[str, ...]:
        """Return those of the scopes that a user with these roles may grant to a key (S0-43)."""
        roles = tuple(roles)
        return tuple(scope for scope in scopes if self.allowed_by(scope, roles) is not None)

    def allowed_by(self, scope: str, roles: Iterable[str]) -> str | None:
        """Return what allows a scope: `everyone` or a role's name; None if nothing does."""
        if scope.startswith(RESERVED_PREFIX):
            return None
        if scope in self._everyone or _ANY in self._everyone:
            return "everyone"
        sets = ((role, self._by_role.get(role, frozenset())) for role in roles)
        return next((role for role, allowed in sets if scope in allowed or _ANY in allowed), None)

    def check(self, scopes: Sequence[str], roles: Iterable[str]) -> None:
        """Refuse scopes that a user with these roles may not grant to a key.

        Raises:
            ScopeNotGrantable: names them.
        """
        held = self.held(scopes, roles)
        if missing := [scope for scope in scopes if scope not in held]:
            raise ScopeNotGrantable(f"You may not grant these scopes: {', '.join(missing[:10])}.")


def check_reserved(scopes: Sequence[str]) -> None:
    """Refuse unknown reserved scopes, so that a typo is noticed.

    Raises:
        ValidationFailed: names the known ones.
    """
    for scope in scopes:
        if scope.startswith(RESERVED_PREFIX) and scope not in RESERVED_SCOPES:
            raise invalid(["body", "scopes"], f"{scope} is not a reserved scope; known: {', '.join(RESERVED_SCOPES)}.")
