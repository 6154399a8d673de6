"""OpenID provider: authorization requests, codes, consents and the apps of a session

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TEXTS = postgresql.ARRAY(sa.Text())
_CHANNEL = "(SELECT value FROM idp.installation WHERE name = 'changes_channel')"
_COLUMNS_BEFORE = "client_id, name, scopes, secret_digest, former_secret_digest, former_secret_until"
_NEW_CLIENT_COLUMNS = (
    # name, type, value of existing clients
    ("application_type", sa.Text(), "'web'"),
    ("grant_types", _TEXTS, "ARRAY['client_credentials']"),
    ("auth_method", sa.Text(), "'client_secret_basic'"),
    ("redirect_uris", _TEXTS, "ARRAY[]::text[]"),
    ("post_logout_redirect_uris", _TEXTS, "ARRAY[]::text[]"),
    ("resources", _TEXTS, "ARRAY[]::text[]"),
    ("serves", _TEXTS, "ARRAY[]::text[]"),
    ("id_token_alg", sa.Text(), "'RS256'"),
    ("require_pkce", sa.Boolean(), "true"),
    ("skip_consent", sa.Boolean(), "false"),
    ("declared", sa.Boolean(), "false"),
)
_OPTIONAL_CLIENT_COLUMNS = ("jwks_uri", "client_uri", "policy_uri", "tos_uri", "backchannel_logout_uri")


def upgrade() -> None:
    for name, kind, value in _NEW_CLIENT_COLUMNS:
        op.add_column(
            "oauth_clients", sa.Column(name, kind, nullable=False, server_default=sa.text(value)), schema="idp"
        )
        op.alter_column("oauth_clients", name, server_default=None, schema="idp")
    op.add_column("oauth_clients", sa.Column("jwks", postgresql.JSONB(), nullable=True), schema="idp")
    for name in _OPTIONAL_CLIENT_COLUMNS:
        op.add_column("oauth_clients", sa.Column(name, sa.Text(), nullable=True), schema="idp")
    for name in ("secret_digest", "secret_created_at"):
        op.alter_column("oauth_clients", name, nullable=True, schema="idp")
    _announce_clients("")

    op.add_column("user_sessions", sa.Column("parent_id", sa.Uuid(), nullable=True), schema="idp")
    op.add_column("user_sessions", sa.Column("client_id", sa.Text(), nullable=True), schema="idp")
    op.add_column("user_sessions", sa.Column("client_sid", sa.Uuid(), nullable=True), schema="idp")
    for name in ("scopes", "resources", "claims"):
        op.add_column("user_sessions", sa.Column(name, _TEXTS, nullable=True), schema="idp")
    op.create_foreign_key(
        op.f("fk_user_sessions_parent_id_user_sessions"),
        "user_sessions",
        "user_sessions",
        ["parent_id"],
        ["id"],
        source_schema="idp",
        referent_schema="idp",
        ondelete="CASCADE",
    )
    for column in ("parent_id", "client_id"):
        op.create_index(
            f"ix_user_sessions_{column}",
            "user_sessions",
            [column],
            schema="idp",
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )

    op.create_table(
        "authorization_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("consented_user_id", sa.Text(), nullable=True),
        sa.Column("chosen_session_id", sa.Uuid(), nullable=True),
        sa.Column("begun_session_id", sa.Uuid(), nullable=True),
        sa.Column("completed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorization_requests")),
        _of_client("authorization_requests"),
        schema="idp",
    )
    op.create_index("ix_authorization_requests_expires_at", "authorization_requests", ["expires_at"], schema="idp")
    op.create_table(
        "authorization_codes",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.Text(), nullable=True),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("scopes", _TEXTS, nullable=False),
        sa.Column("resources", _TEXTS, nullable=False),
        sa.Column("claims", _TEXTS, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("app_session_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_authorization_codes")),
        _of_client("authorization_codes"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["idp.user_sessions.id"],
            name=op.f("fk_authorization_codes_session_id_user_sessions"),
            ondelete="CASCADE",
        ),
        schema="idp",
    )
    op.create_index("ix_authorization_codes_expires_at", "authorization_codes", ["expires_at"], schema="idp")
    op.create_index("ix_authorization_codes_session_id", "authorization_codes", ["session_id"], schema="idp")
    op.create_table(
        "consents",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scopes", _TEXTS, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "client_id", name=op.f("pk_consents")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["idp.users.id"], name=op.f("fk_consents_user_id_users"), ondelete="CASCADE"
        ),
        _of_client("consents"),
        schema="idp",
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_revoked_tokens")),
        schema="idp",
    )
    op.create_index("ix_revoked_tokens_expires_at", "revoked_tokens", ["expires_at"], schema="idp")
    op.execute(
        f"""
        CREATE FUNCTION idp.announce_revoked_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify({_CHANNEL}, pg_current_xact_id()::text || ' credential:' || NEW.jti);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER announce AFTER INSERT ON idp.revoked_tokens "
        "FOR EACH ROW EXECUTE FUNCTION idp.announce_revoked_tokens()"
    )
    op.create_table(
        "client_assertions",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_client_assertions")),
        schema="idp",
    )
    op.create_index("ix_client_assertions_expires_at", "client_assertions", ["expires_at"], schema="idp")
    op.create_table(
        "logout_notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("sid", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logout_notifications")),
        _of_client("logout_notifications"),
        schema="idp",
    )
    op.create_index(
        "ix_logout_notifications_client_id_next_attempt_at",
        "logout_notifications",
        ["client_id", "next_attempt_at"],
        schema="idp",
    )


def downgrade() -> None:
    for table in ("logout_notifications", "client_assertions", "revoked_tokens", "consents", "authorization_codes"):
        op.drop_table(table, schema="idp")
    op.drop_table("authorization_requests", schema="idp")
    op.execute("DROP FUNCTION idp.announce_revoked_tokens()")
    op.execute("DELETE FROM idp.user_sessions WHERE parent_id IS NOT NULL")
    for name in ("parent_id", "client_id", "client_sid", "scopes", "resources", "claims"):
        op.drop_column("user_sessions", name, schema="idp")
    op.execute("DELETE FROM idp.oauth_clients WHERE secret_digest IS NULL")
    _announce_clients(f" OF {_COLUMNS_BEFORE}")
    for name in ("jwks", *_OPTIONAL_CLIENT_COLUMNS, *(name for name, _, _ in _NEW_CLIENT_COLUMNS)):
        op.drop_column("oauth_clients", name, schema="idp")
    for name in ("secret_digest", "secret_created_at"):
        op.alter_column("oauth_clients", name, nullable=False, schema="idp")


def _announce_clients(of_columns: str) -> None:
    """Verdicts about a client end with every change of these columns (rule 5)."""
    op.execute("DROP TRIGGER announce ON idp.oauth_clients")
    op.execute(
        f"CREATE TRIGGER announce AFTER DELETE OR UPDATE{of_columns} ON idp.oauth_clients "
        "FOR EACH ROW EXECUTE FUNCTION idp.announce_oauth_clients()"
    )


def _of_client(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["client_id"],
        ["idp.oauth_clients.client_id"],
        name=op.f(f"fk_{table}_client_id_oauth_clients"),
        ondelete="CASCADE",
    )
