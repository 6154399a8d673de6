"""Who must have a second factor: users with one of the configured roles, or in one of the configured teams."""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text

from idp import clock
from idp.settings_schema import SecondFactor
from idp.users.factors.enrolled import HAS_SECOND_FACTOR

# The tables of teams by name, because `directory` stands beside this package.
_IS_REQUIRED = """
(EXISTS (SELECT FROM idp.user_roles r WHERE r.user_id = :user_id AND r.role = ANY(:roles))
 OR EXISTS (SELECT FROM idp.team_memberships m JOIN idp.teams g ON g.id = m.team_id
             WHERE m.user_id = :user_id AND g.is_active AND g.name = ANY(:teams)))
"""
_LISTS = (bindparam("roles", type_=ARRAY(Text())), bindparam("teams", type_=ARRAY(Text())))
_DEADLINE = text(f"""
WITH required AS (
    SELECT u.id FROM idp.users u WHERE u.id = :user_id AND {_IS_REQUIRED} AND NOT ({HAS_SECOND_FACTOR})
), written AS (
    INSERT INTO idp.second_factor_deadlines (user_id, due_at) SELECT id, :due_at FROM required
    ON CONFLICT (user_id) DO NOTHING RETURNING due_at
)
SELECT coalesce((SELECT due_at FROM written),
                (SELECT d.due_at FROM idp.second_factor_deadlines d WHERE d.user_id = required.id), :due_at)
  FROM required
""").bindparams(*_LISTS)  # noqa: S608  constants
_REQUIREMENT = text(f"""
SELECT {_IS_REQUIRED} AS required, (SELECT due_at FROM idp.second_factor_deadlines WHERE user_id = :user_id) AS due_at
""").bindparams(*_LISTS)  # noqa: S608  constants


class FactorPolicy:
    """Decides who must have a second factor, and from when on. Every function works in the caller's transaction.

    Args:
        settings: roles, teams, and days of grace from the first sign-in under the policy.
    """

    def __init__(self, settings: SecondFactor) -> None:
        self._lists = {"roles": list(settings.required_roles), "teams": list(settings.required_teams)}
        self._grace = timedelta(days=settings.grace_days)
        self.applies = bool(settings.required_roles or settings.required_teams)

    async def deadline(self, session: AsyncSession, user_id: str) -> datetime | None:
        """Return until when a user may sign in without a second factor, from their first sign-in under the policy on.

        None if none is required of them, or they have one. It stays the same when they lose their factors.
        """
        if not self.applies:
            return None
        values = {**self._lists, "user_id": user_id, "due_at": clock.now() + self._grace}
        due_at: datetime | None = await session.scalar(_DEADLINE, values)
        return due_at

    async def requirement(self, session: AsyncSession, user_id: str) -> tuple[bool, datetime | None]:
        """Return whether a user must have a second factor, and their deadline if it is known."""
        if not self.applies:
            return False, None
        row = (await session.execute(_REQUIREMENT, {**self._lists, "user_id": user_id})).one()
        return bool(row.required), row.due_at if row.required else None
