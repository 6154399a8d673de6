"""API keys and service tokens, and the triggers that announce changes of verdicts

Revision ID: 0002
Revises: 0001

Verdicts on credentials are cached (docs/decisions/0011). Triggers announce every change that affects a verdict with
NOTIFY in the same transaction, so that new code and manual changes of rows invalidate the cache, too.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# By table: the changes that fire the trigger, and the expression for the announced text, with the row as `r`.
_ANNOUNCED = {
    "users": (
        "DELETE OR UPDATE OF id, email, email_verified, name, avatar_url, login_type, plan, is_active, deleted_at",
        "'user:' || r.id",
    ),
    "user_roles": ("INSERT OR UPDATE OR DELETE", "'user:' || r.user_id"),
    "team_memberships": ("INSERT OR UPDATE OR DELETE", "'user:' || r.user_id"),
    "user_domains": ("INSERT OR UPDATE OR DELETE", "'user:' || r.user_id"),
    "identities": ("INSERT OR UPDATE OR DELETE", "'user:' || r.user_id"),
    "api_keys": (
        "DELETE OR UPDATE OF kind, user_id, name, digest, scopes, expires_at, revoked_at, former_digest, former_until",
        "'credential:' || r.id",
    ),
    "teams": ("UPDATE OR DELETE", "'directory'"),
    "domains": ("UPDATE OR DELETE", "'directory'"),
    "signing_keys": ("UPDATE OR DELETE", "'signing'"),
}


def upgrade() -> None:
    _tables()
    for table, (when, what) in _ANNOUNCED.items():
        _announce(table, when, what)


def _tables() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("pepper", sa.Text(), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.Column("former_digest", sa.Text(), nullable=True),
        sa.Column("former_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(kind = 'user_key') = (user_id IS NOT NULL)", name=op.f("ck_api_keys_kind")),
        sa.CheckConstraint("scheme IN ('hmac', 'sha256', 'bcrypt')", name=op.f("ck_api_keys_scheme")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f("fk_api_keys_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
        schema="idp",
    )
    op.create_index("ix_api_keys_user_id_created_at", "api_keys", ["user_id", "created_at"], schema="idp")
    for name, column, condition in (
        ("ix_api_keys_created_at", "created_at", "kind = 'service_token'"),
        ("ix_api_keys_name", "name", "kind = 'service_token' AND revoked_at IS NULL"),
        ("ix_api_keys_former_digest", "former_digest", "former_digest IS NOT NULL"),
        ("ix_api_keys_prefix", "prefix", "scheme = 'bcrypt'"),
    ):
        op.create_index(name, "api_keys", [column], schema="idp", postgresql_where=sa.text(condition))
    op.create_table(
        "idempotent_answers",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("sealed_answer", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_idempotent_answers")),
        schema="idp",
    )
    op.create_index(op.f("ix_idempotent_answers_created_at"), "idempotent_answers", ["created_at"], schema="idp")
    op.create_check_constraint(op.f("ck_users_id"), "users", "octet_length(id) <= 512", schema="idp")
    op.create_index("ix_audit_logs_target_timestamp", "audit_logs", ["target", "timestamp"], schema="idp")


def _announce(table: str, when: str, what: str) -> None:
    """Send `<transaction> <text>` for the old and the new row."""
    old, new = what.replace("r.", "OLD."), what.replace("r.", "NEW.")
    op.execute(
        f"""
        CREATE FUNCTION idp.announce_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                PERFORM pg_notify('idp_changes', pg_current_xact_id()::text || ' ' || {old});
            END IF;
            IF TG_OP <> 'DELETE' THEN
                PERFORM pg_notify('idp_changes', pg_current_xact_id()::text || ' ' || {new});
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        f"CREATE TRIGGER announce AFTER {when} ON idp.{table} FOR EACH ROW EXECUTE FUNCTION idp.announce_{table}()"
    )


def downgrade() -> None:
    for table in _ANNOUNCED:
        op.execute(f"DROP TRIGGER announce ON idp.{table}")
        op.execute(f"DROP FUNCTION idp.announce_{table}()")
    op.drop_constraint(op.f("ck_users_id"), "users", schema="idp")
    op.drop_index("ix_audit_logs_target_timestamp", "audit_logs", schema="idp")
    op.drop_table("idempotent_answers", schema="idp")
    op.drop_table("api_keys", schema="idp")
