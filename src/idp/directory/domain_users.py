"""The users of domains."""

from uuid import UUID

from sqlalchemy import literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin
from idp.db.repository import Repository
from idp.directory.domains import DOMAINS
from idp.directory.group_events import publish_domain_user
from idp.directory.members import BY_ADDRESS, Members
from idp.directory.models import UserDomainRow
from idp.directory.people import require
from idp.directory.shapes import DomainUser, MemberRole
from idp.events.catalogue import EventType
from idp.principal import sources


class UserDomainRepository(Repository[UserDomainRow]):
    """Assignments of users to domains, by e-mail address."""

    model_type = UserDomainRow
    ordering = BY_ADDRESS


class DomainUsers(Members[UserDomainRow, DomainUser]):
    """The users of domains."""

    groups = DOMAINS
    repository = UserDomainRepository
    group_column = "domain_id"
    shown = DomainUser
    columns = (UserDomainRow.created_at,)
    noun = "user"

    async def put(
        self,
        session: AsyncSession,
        origin: Origin,
        group_id: UUID,
        user_id: str,
        role: MemberRole | None = None,  # noqa: ARG002  teams have roles
        *,
        source: str = sources.ADMIN,
    ) -> DomainUser:
        """Assign a user to a domain; assigning them again changes only where the assignment comes from.

        Args:
            session: the caller's transaction.
            origin: the request's origin.
            group_id: the domain.
            user_id: the user.
            role: domains have none.
            source: where the assignment comes from (`principal/sources.py`).

        Raises:
            DomainNotFound: there is no such domain.
            UserNotFound: there is no such user.
        """
        await self.groups.get(session, group_id)
        await require(session, user_id)
        now = clock.now()
        added = await session.scalar(
            insert(UserDomainRow)
            .values(id=uuid7(), user_id=user_id, domain_id=group_id, source=source, created_at=now, updated_at=now)
            .on_conflict_do_update(
                index_elements=["user_id", "domain_id"],
                set_={"source": source},
                where=UserDomainRow.source.is_distinct_from(source),
            )
            .returning(literal_column("xmax = 0"))  # whether it is new
        )
        if added:
            self._record(session, origin, "added", group_id, user_id)
            publish_domain_user(session, EventType.DOMAIN_USER_ADDED, group_id, user_id)
        return await self.get(session, group_id, user_id)

    def _publish_removal(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:
        publish_domain_user(session, EventType.DOMAIN_USER_REMOVED, group_id, user_id)


DOMAIN_USERS = DomainUsers()
