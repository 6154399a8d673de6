"""OAuth clients

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_CHANNEL = "(SELECT value FROM idp.installation WHERE name = 'changes_channel')"


def upgrade() -> None:
    op.create_table(
        "oauth_clients",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret_digest", sa.Text(), nullable=False),
        sa.Column("secret_created_at", _TIME, nullable=False),
        sa.Column("former_secret_digest", sa.Text(), nullable=True),
        sa.Column("former_secret_until", _TIME, nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.CheckConstraint("octet_length(client_id) <= 128", name=op.f("ck_oauth_clients_client_id")),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_clients")),
        schema="idp",
    )
    # Verdicts about the tokens of a client end with it, and with its scopes (rule 5).
    op.execute(
        f"""
        CREATE FUNCTION idp.announce_oauth_clients() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify({_CHANNEL}, pg_current_xact_id()::text || ' client:' || OLD.client_id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER announce AFTER DELETE OR "
        "UPDATE OF client_id, name, scopes, secret_digest, former_secret_digest, "
        "former_secret_until ON idp.oauth_clients FOR EACH ROW EXECUTE FUNCTION idp.announce_oauth_clients()"
    )


def downgrade() -> None:
    op.drop_table("oauth_clients", schema="idp")
    op.execute("DROP FUNCTION idp.announce_oauth_clients()")
