"""The base of every table: schema `idp`, named constraints, UUIDv7 keys generated in Python.

A separate schema lets idp share a database with an old service that has a `users` table (docs/decisions/0003).
"""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from advanced_alchemy.base import CommonTableAttributes
from sqlalchemy import DateTime, MetaData, Text, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

from idp import clock

SCHEMA = "idp"

_naming = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_metadata = MetaData(schema=SCHEMA, naming_convention=_naming)


class Base(CommonTableAttributes, DeclarativeBase):
    """A table in the schema `idp` with PostgreSQL's own types, so that migrations need only SQLAlchemy."""

    __abstract__ = True
    metadata = _metadata
    type_annotation_map: ClassVar = {str: Text(), datetime: DateTime(timezone=True), UUID: Uuid()}


class UUIDKey:
    """A primary key that sorts by creation time (RFC 9562 UUIDv7), generated in Python for PostgreSQL 15."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-100)


class Timestamps:
    """Creation time and time of the last change."""

    created_at: Mapped[datetime] = mapped_column(default=clock.now, sort_order=100)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now, onupdate=clock.now, sort_order=101)
