"""Sources of memberships and roles, and the claims that rules have seen

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_WITH_SOURCE = ("team_memberships", "user_domains", "user_roles")


def upgrade() -> None:
    for table in _WITH_SOURCE:
        op.add_column(table, sa.Column("source", sa.Text(), nullable=True), schema="idp")
    op.add_column("identities", sa.Column("claims_issued_at", sa.DateTime(timezone=True), nullable=True), schema="idp")
    op.add_column("identities", sa.Column("claims_digest", sa.Text(), nullable=True), schema="idp")


def downgrade() -> None:
    op.drop_column("identities", "claims_digest", schema="idp")
    op.drop_column("identities", "claims_issued_at", schema="idp")
    for table in _WITH_SOURCE:
        op.drop_column(table, "source", schema="idp")
