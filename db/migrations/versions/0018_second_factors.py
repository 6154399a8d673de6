"""Second factors, sign-ins that wait for one, sessions of support, and accounts to be deleted

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _of_user(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    name = op.f(f"fk_{table}_user_id_users")
    return (
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["idp.users.id"], name=name, ondelete="CASCADE"),
    )


def upgrade() -> None:
    op.add_column("users", sa.Column("delete_after", _TIME, nullable=True), schema="idp")
    op.create_index(
        "ix_users_delete_after",
        "users",
        ["delete_after"],
        schema="idp",
        postgresql_where=sa.text("delete_after IS NOT NULL AND deleted_at IS NULL"),
    )
    op.add_column("user_sessions", sa.Column("actor_id", sa.Text(), nullable=True), schema="idp")
    op.add_column("user_sessions", sa.Column("actor_reason", sa.Text(), nullable=True), schema="idp")
    _create_factors()
    _create_pending_sign_ins()


def _create_factors() -> None:
    op.create_table(
        "passkeys",
        *_of_user("passkeys"),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("user_handle", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("transports", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("aaguid", sa.Uuid(), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        schema="idp",
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"], schema="idp")
    op.create_table(
        "totp_secrets",
        *_of_user("totp_secrets"),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("digits", sa.Integer(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp_secrets")),
        schema="idp",
    )
    op.create_table(
        "recovery_codes",
        *_of_user("recovery_codes"),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("user_id", "digest", name=op.f("uq_recovery_codes_user_id_digest")),
        schema="idp",
    )
    op.create_table(
        "second_factor_deadlines",
        *_of_user("second_factor_deadlines"),
        sa.Column("due_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_second_factor_deadlines")),
        schema="idp",
    )
    op.create_table(
        "used_challenges",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_used_challenges")),
        schema="idp",
    )
    op.create_index(op.f("ix_used_challenges_expires_at"), "used_challenges", ["expires_at"], schema="idp")


def _create_pending_sign_ins() -> None:
    op.create_table(
        "pending_sign_ins",
        *_of_user("pending_sign_ins"),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("amr", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("remember", sa.Boolean(), nullable=False),
        sa.Column("wrong_codes", sa.Integer(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_sign_ins")),
        sa.UniqueConstraint("digest", name=op.f("uq_pending_sign_ins_digest")),
        schema="idp",
    )
    op.create_index(op.f("ix_pending_sign_ins_user_id"), "pending_sign_ins", ["user_id"], schema="idp")
    op.create_index(op.f("ix_pending_sign_ins_expires_at"), "pending_sign_ins", ["expires_at"], schema="idp")


def downgrade() -> None:
    for table in (
        "pending_sign_ins",
        "used_challenges",
        "second_factor_deadlines",
        "recovery_codes",
        "totp_secrets",
        "passkeys",
    ):
        op.drop_table(table, schema="idp")
    op.drop_column("user_sessions", "actor_reason", schema="idp")
    op.drop_column("user_sessions", "actor_id", schema="idp")
    op.drop_column("users", "delete_after", schema="idp")
