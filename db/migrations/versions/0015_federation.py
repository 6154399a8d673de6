"""Logins at other providers

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "federated_logins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("state_digest", sa.Text(), nullable=False),
        sa.Column("browser_digest", sa.Text(), nullable=False),
        sa.Column("journey", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("consumed_at", _TIME, nullable=True),
        sa.Column("outcome", postgresql.JSONB(), nullable=True),
        sa.Column("code_digest", sa.Text(), nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federated_logins")),
        sa.UniqueConstraint("state_digest", name=op.f("uq_federated_logins_state_digest")),
        schema="idp",
    )
    op.create_index("ix_federated_logins_expires_at", "federated_logins", ["expires_at"], schema="idp")
    op.create_index(
        "ix_federated_logins_code_digest",
        "federated_logins",
        ["code_digest"],
        unique=True,
        schema="idp",
        postgresql_where=sa.text("code_digest IS NOT NULL"),
    )
    op.create_table(
        "federated_sessions",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sid", sa.Text(), nullable=True),
        sa.Column("sealed_id_token", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_federated_sessions")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["idp.user_sessions.id"],
            name=op.f("fk_federated_sessions_session_id_user_sessions"),
            ondelete="CASCADE",
        ),
        schema="idp",
    )
    for column in ("subject", "sid"):
        op.create_index(
            f"ix_federated_sessions_provider_{column}", "federated_sessions", ["provider", column], schema="idp"
        )


def downgrade() -> None:
    op.drop_table("federated_sessions", schema="idp")
    op.drop_table("federated_logins", schema="idp")
