"""The change log, for processes that poll changes because LISTEN is not available

Revision ID: 0016
Revises: 0015

Every trigger that notifies now calls one function, which also adds to the change log once it is turned on (decision
0052). The log is unlogged: after a crash the database is another instance for every reader, which starts over.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_CHANNEL = "(SELECT value FROM idp.installation WHERE name = 'changes_channel')"
# By table: the expression for the announced text, with the row as `r`.
_BOTH_ROWS = {
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
_ONE_ROW = {
    "user_sessions": "'session:' || OLD.id",
    "oauth_clients": "'client:' || OLD.client_id",
    "revoked_tokens": "'credential:' || NEW.jti",
}


def upgrade() -> None:
    op.create_table(
        "change_log",
        sa.Column("transaction", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("transaction", "name", name=op.f("pk_change_log")),
        schema="idp",
        prefixes=["UNLOGGED"],
    )
    op.execute(
        f"""
        CREATE FUNCTION idp.announce(changed text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify({_CHANNEL}, pg_current_xact_id()::text || ' ' || changed);
            IF EXISTS (SELECT FROM idp.installation WHERE installation.name = 'change_log') THEN
                INSERT INTO idp.change_log VALUES (pg_current_xact_id()::text::bigint, changed) ON CONFLICT DO NOTHING;
            END IF;
        END $$
        """  # noqa: S608  constants
    )
    _replace_functions("PERFORM idp.announce({})")


def _replace_functions(announce: str) -> None:
    """Define the trigger functions again.

    Args:
        announce: a statement, with `{}` for the expression of what changed.
    """
    for table, what in _BOTH_ROWS.items():
        old, new = announce.format(what.replace("r.", "OLD.")), announce.format(what.replace("r.", "NEW."))
        _replace_function(
            table, f"IF TG_OP <> 'INSERT' THEN {old}; END IF; IF TG_OP <> 'DELETE' THEN {new}; END IF; RETURN NULL;"
        )
    for table, what in _ONE_ROW.items():
        _replace_function(table, f"{announce.format(what)}; RETURN NULL;")


def _replace_function(table: str, body: str) -> None:
    op.execute(
        f"CREATE OR REPLACE FUNCTION idp.announce_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    )


def downgrade() -> None:
    _replace_functions(f"PERFORM pg_notify({_CHANNEL}, pg_current_xact_id()::text || ' ' || {{}})")
    op.execute("DROP FUNCTION idp.announce(text)")
    op.drop_table("change_log", schema="idp")
    op.execute("DELETE FROM idp.installation WHERE name = 'change_log'")
