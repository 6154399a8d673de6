"""Versions of teams, domains and keys; positions and parked events in the outbox

Revision ID: 0010
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

_VERSIONED = ("teams", "domains", "api_keys")


def upgrade() -> None:
    for table in _VERSIONED:
        op.add_column(
            table, sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False), schema="idp"
        )
    transaction = sa.text("(pg_current_xact_id()::text)::bigint")
    for column in (
        sa.Column("transaction", sa.BigInteger(), server_default=transaction, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
    ):
        op.add_column("outbox", column, schema="idp")
    op.drop_index("ix_outbox_unpublished", "outbox", schema="idp")
    for name, columns, where in (
        ("ix_outbox_unpublished", ["seq"], "published_at IS NULL AND parked_at IS NULL"),
        ("ix_outbox_parked", ["subject", "seq"], "parked_at IS NOT NULL"),
        ("ix_outbox_transaction_seq", ["transaction", "seq"], None),
    ):
        op.create_index(name, "outbox", columns, schema="idp", postgresql_where=sa.text(where) if where else None)
    _complete_earlier_events()


def _complete_earlier_events() -> None:
    """Earlier events, which nothing has published, get the data that their types have now."""
    op.execute(
        "UPDATE idp.outbox SET data = data || jsonb_build_object('user_id', subject) WHERE type = 'idp.session.revoked'"
    )
    op.execute("DELETE FROM idp.outbox WHERE type IN ('idp.user.email_verified', 'idp.user.password_reset')")


def downgrade() -> None:
    for name in ("ix_outbox_transaction_seq", "ix_outbox_parked", "ix_outbox_unpublished"):
        op.drop_index(name, "outbox", schema="idp")
    op.create_index(
        "ix_outbox_unpublished", "outbox", ["seq"], schema="idp", postgresql_where=sa.text("published_at IS NULL")
    )
    for column in ("error", "parked_at", "attempts", "sequence", "transaction"):
        op.drop_column("outbox", column, schema="idp")
    for table in reversed(_VERSIONED):
        op.drop_column(table, "version", schema="idp")
