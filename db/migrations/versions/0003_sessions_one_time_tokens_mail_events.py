"""Sessions, refresh tokens, one-time tokens, mails, events, and the hash chain of audit records

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
# The columns of a session that affect a verdict. Its last use is not announced.
_ANNOUNCED = "DELETE OR UPDATE OF user_id, expires_at, ended_at, cookie_digest, amr, acr, auth_time"


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("password_version", sa.Integer(), nullable=False, server_default="1"), schema="idp"
    )
    op.alter_column("users", "password_version", server_default=None, schema="idp")
    _sessions()
    _one_time_tokens("email_verification_tokens")
    _one_time_tokens("password_reset_tokens")
    _outboxes()
    op.create_index("ix_audit_logs_actor_timestamp", "audit_logs", ["actor", "timestamp"], schema="idp")
    op.create_table(
        "audit_chain",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audit_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("chained_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_chain")),
        sa.UniqueConstraint("audit_id", name=op.f("uq_audit_chain_audit_id")),
        schema="idp",
    )


def _sessions() -> None:
    op.create_table(
        "user_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.Column("idle_seconds", sa.Integer(), nullable=False),
        sa.Column("idle_expires_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.Column("cookie_digest", sa.Text(), nullable=True),
        sa.Column("device_info", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("amr", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("acr", sa.Text(), nullable=False),
        sa.Column("auth_time", _TIME, nullable=False),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name=op.f("ck_user_sessions_ended")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f("fk_user_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_sessions")),
        sa.UniqueConstraint("cookie_digest", name=op.f("uq_user_sessions_cookie_digest")),
        schema="idp",
    )
    op.create_index("ix_user_sessions_user_id_created_at", "user_sessions", ["user_id", "created_at"], schema="idp")
    op.create_index(
        "ix_user_sessions_user_id_live",
        "user_sessions",
        ["user_id"],
        schema="idp",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_user_sessions_expires_at", "user_sessions", ["expires_at"], schema="idp")
    op.execute(
        """
        CREATE FUNCTION idp.announce_user_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('idp_changes', pg_current_xact_id()::text || ' session:' || OLD.id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        f"CREATE TRIGGER announce AFTER {_ANNOUNCED} ON idp.user_sessions "
        "FOR EACH ROW EXECUTE FUNCTION idp.announce_user_sessions()"
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("rotated_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["idp.user_sessions.id"],
            name=op.f("fk_refresh_tokens_session_id_user_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_refresh_tokens_digest")),
        sa.UniqueConstraint("session_id", "generation", name=op.f("uq_refresh_tokens_session_id_generation")),
        schema="idp",
    )


def _one_time_tokens(table: str) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("digest", name=op.f(f"uq_{table}_digest")),
        schema="idp",
    )
    for column in ("user_id", "created_at"):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], schema="idp")


def _outboxes() -> None:
    op.create_table(
        "mail_outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("sealed_message", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("sent_at", _TIME, nullable=True),
        sa.Column("failed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_outbox")),
        schema="idp",
    )
    op.create_index(
        "ix_mail_outbox_due_at",
        "mail_outbox",
        ["due_at"],
        schema="idp",
        postgresql_where=sa.text("sent_at IS NULL AND failed_at IS NULL"),
    )
    op.create_index("ix_mail_outbox_created_at", "mail_outbox", ["created_at"], schema="idp")
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("published_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("seq", name=op.f("uq_outbox_seq")),
        schema="idp",
    )
    op.create_index(
        "ix_outbox_unpublished", "outbox", ["seq"], schema="idp", postgresql_where=sa.text("published_at IS NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_audit_logs_actor_timestamp", "audit_logs", schema="idp")
    op.execute("DROP TRIGGER announce ON idp.user_sessions")
    op.execute("DROP FUNCTION idp.announce_user_sessions()")
    for table in (
        "audit_chain",
        "outbox",
        "mail_outbox",
        "password_reset_tokens",
        "email_verification_tokens",
        "refresh_tokens",
        "user_sessions",
    ):
        op.drop_table(table, schema="idp")
    op.drop_column("users", "password_version", schema="idp")
