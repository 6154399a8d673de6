"""Versions of teams, domains and keys; positions in the outbox, and the queue of the relay

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
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
    op.add_column(
        "outbox", sa.Column("transaction", sa.BigInteger(), server_default=transaction, nullable=False), schema="idp"
    )
    op.add_column("outbox", sa.Column("sequence", sa.BigInteger(), nullable=True), schema="idp")
    op.create_index("ix_outbox_transaction_seq", "outbox", ["transaction", "seq"], schema="idp")
    _complete_earlier_events()
    op.drop_index("ix_outbox_unpublished", "outbox", schema="idp")
    op.drop_column("outbox", "published_at", schema="idp")
    _add_queue()


def _add_queue() -> None:
    op.create_table(
        "outbox_unpublished",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox_unpublished")),
        schema="idp",
    )
    op.execute("INSERT INTO idp.outbox_unpublished (seq) SELECT seq FROM idp.outbox")
    op.execute("""
        CREATE FUNCTION idp.queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO idp.outbox_unpublished (seq) VALUES (NEW.seq);
            RETURN NULL;
        END $$
    """)
    op.execute("CREATE TRIGGER queue AFTER INSERT ON idp.outbox FOR EACH ROW EXECUTE FUNCTION idp.queue_event()")


def _complete_earlier_events() -> None:
    """Earlier events, which nothing has published, get the data that their types have now."""
    op.execute(
        "UPDATE idp.outbox SET data = data || jsonb_build_object('user_id', subject) WHERE type = 'idp.session.revoked'"
    )
    op.execute("DELETE FROM idp.outbox WHERE type IN ('idp.user.email_verified', 'idp.user.password_reset')")


def downgrade() -> None:
    op.execute("DROP TRIGGER queue ON idp.outbox")
    op.execute("DROP FUNCTION idp.queue_event()")
    op.drop_table("outbox_unpublished", schema="idp")
    op.drop_index("ix_outbox_transaction_seq", "outbox", schema="idp")
    op.drop_column("outbox", "sequence", schema="idp")
    op.drop_column("outbox", "transaction", schema="idp")
    op.add_column("outbox", sa.Column("published_at", sa.DateTime(timezone=True), nullable=True), schema="idp")
    op.create_index(
        "ix_outbox_unpublished", "outbox", ["seq"], schema="idp", postgresql_where=sa.text("published_at IS NULL")
    )
    for table in reversed(_VERSIONED):
        op.drop_column(table, "version", schema="idp")
