"""Imports from other services, and former ids of users

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("imported_from", sa.Text(), nullable=True), schema="idp")
    op.create_table(
        "import_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(), nullable=False),
        sa.Column("exported_at", _TIME, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_runs")),
        schema="idp",
    )
    op.create_index("ix_import_runs_source_started_at", "import_runs", ["source", "started_at"], schema="idp")
    op.create_table(
        "user_aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("octet_length(alias) <= 512", name=op.f("ck_user_aliases_alias")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f("fk_user_aliases_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_user_aliases")),
        schema="idp",
    )
    op.create_index(op.f("ix_user_aliases_user_id"), "user_aliases", ["user_id"], schema="idp")
    op.execute(
        "CREATE FUNCTION idp.announce_user_aliases() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN PERFORM idp.announce('user:' || OLD.user_id); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER announce AFTER UPDATE OR DELETE ON idp.user_aliases "
        "FOR EACH ROW EXECUTE FUNCTION idp.announce_user_aliases()"
    )


def downgrade() -> None:
    op.drop_table("user_aliases", schema="idp")
    op.execute("DROP FUNCTION idp.announce_user_aliases()")
    op.drop_table("import_runs", schema="idp")
    op.drop_column("users", "imported_from", schema="idp")
