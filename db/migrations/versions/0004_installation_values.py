"""Values of this database: the salt of proofs, and the name of the notification channel

Revision ID: 0004
Revises: 0003

The channel has a random name in a table that other roles cannot read, because any role that may connect can send on a
channel with a known name. The functions look it up, because any such role can also read the source of functions. The
migration creates the roles of users, so that registration works after `alembic upgrade head`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CHANNEL = "(SELECT value FROM idp.installation WHERE name = 'changes_channel')"
# 244 random bits; gen_random_uuid() is cryptographically secure.
_RANDOM = "replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')"
_ROLES = {"user": "Everyone who registers", "admin": "Administrator of the service"}
# By table of 0002: the expression for the announced text, with the row as `r`.
_ANNOUNCED = {
    "users": "'user:' || r.id",
    "user_roles": "'user:' || r.user_id",
    "team_memberships": "'user:' || r.user_id",
    "user_domains": "'user:' || r.user_id",
    "identities": "'user:' || r.user_id",
    "api_keys": "'credential:' || r.id",
    "teams": "'directory'",
    "domains": "'directory'",
    "signing_keys": "'signing'",
}


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
        schema="idp",
    )
    op.execute("REVOKE ALL ON idp.installation FROM PUBLIC")
    for name, value in (("proof_salt", _RANDOM), ("changes_channel", f"'idp_' || left({_RANDOM}, 48)")):
        op.execute(f"INSERT INTO idp.installation (name, value) VALUES ('{name}', {value})")  # noqa: S608  constants
    _announce(_CHANNEL)
    for name, description in _ROLES.items():
        role = sa.text("INSERT INTO idp.roles (name, description) VALUES (:name, :description) ON CONFLICT DO NOTHING")
        op.execute(role.bindparams(name=name, description=description))


def _announce(channel: str) -> None:
    """Send `<transaction> <text>` for the old and the new row."""
    for table, what in _ANNOUNCED.items():
        old, new = what.replace("r.", "OLD."), what.replace("r.", "NEW.")
        op.execute(
            f"""
            CREATE OR REPLACE FUNCTION idp.announce_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP <> 'INSERT' THEN
                    PERFORM pg_notify({channel}, pg_current_xact_id()::text || ' ' || {old});
                END IF;
                IF TG_OP <> 'DELETE' THEN
                    PERFORM pg_notify({channel}, pg_current_xact_id()::text || ' ' || {new});
                END IF;
                RETURN NULL;
            END $$
            """
        )
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION idp.announce_user_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify({channel}, pg_current_xact_id()::text || ' session:' || OLD.id);
            RETURN NULL;
        END $$
        """
    )


def downgrade() -> None:
    _announce("'idp_changes'")
    op.drop_table("installation", schema="idp")
