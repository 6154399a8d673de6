"""What Clerk said about users, the deliveries of its webhook, and comparisons with its list

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "clerk_users",
        sa.Column("clerk_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("suspension", sa.Text(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("seen_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f("fk_clerk_users_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("clerk_id", name=op.f("pk_clerk_users")),
        schema="idp",
    )
    op.create_index(op.f("ix_clerk_users_user_id"), "clerk_users", ["user_id"], schema="idp")
    op.create_table(
        "clerk_deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clerk_deliveries")),
        schema="idp",
    )
    op.create_index(op.f("ix_clerk_deliveries_received_at"), "clerk_deliveries", ["received_at"], schema="idp")
    op.create_table(
        "clerk_scans",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("conflicting", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clerk_scans")),
        schema="idp",
    )
    op.create_index(op.f("ix_clerk_scans_finished_at"), "clerk_scans", ["finished_at"], schema="idp")


def downgrade() -> None:
    for table in ("clerk_scans", "clerk_deliveries", "clerk_users"):
        op.drop_table(table, schema="idp")
