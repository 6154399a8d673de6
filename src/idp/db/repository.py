"""advanced-alchemy's repository with the rules of this service (docs/decisions/0034-where-repositories-end.md).

It commits nothing and reads nothing again: transactions are written in the routes (`async with transaction()`). Its
errors are SQLAlchemy's own, because advanced-alchemy's do not tell a unique violation of asyncpg from others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar, cast

from advanced_alchemy.filters import LimitOffset, OrderBy, StatementFilter
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement

from idp.db.base import Base
from idp.db.engine import violated_constraint
from idp.errors import IdpError

Row = TypeVar("Row", bound=Base)


class Repository(SQLAlchemyAsyncRepository[Row]):
    """The rows of one table, inside the caller's transaction.

    Args:
        session: the transaction.

    Attributes:
        ordering: how pages are ordered; the last column is unique, so that no row is on two pages.
    """

    ordering: ClassVar[tuple[OrderBy, ...]]

    def __init__(self, session: AsyncSession) -> None:
        # Two statements for a page: a count beside the rows would be missing where a page has none.
        super().__init__(session=session, auto_refresh=False, wrap_exceptions=False, count_with_window_function=False)

    async def page(
        self,
        *filters: StatementFilter | ColumnElement[bool],
        limit: int | None,
        offset: int,
        statement: Select[Any] | None = None,
        **equal: Any,
    ) -> tuple[list[Row], int]:
        """Return a page in this repository's order, and how many rows there are on all pages.

        Args:
            filters: conditions.
            limit: rows on a page, None for all.
            offset: rows before it.
            statement: what to select instead of the table's rows; one column.
            equal: columns and the values that they must have.
        """
        place = LimitOffset(cast("int", limit), offset)  # SQLAlchemy, which gets it, takes None for no limit
        return await self.get_many_and_count(*filters, *self.ordering, place, statement=statement, **equal)

    async def find(self, key: object, *, lock: bool = False) -> Row | None:
        """Return a row by its primary key, None where there is none; without a statement if it was read before.

        Args:
            key: the primary key.
            lock: read it again, and let no other transaction change it until the commit. Rows that refer to it can
                still be added. Changes of it that are not flushed yet are lost.
        """
        for_update = {"key_share": True} if lock else None
        return await self.session.get(self.model_type, key, with_for_update=for_update, populate_existing=lock)


@contextmanager
def unique(constraint: str, taken: type[IdpError]) -> Iterator[None]:
    """Raise `taken` where a flush in the block violates this unique constraint."""
    try:
        yield
    except IntegrityError as error:
        if violated_constraint(error) == constraint:
            raise taken from error
        raise
