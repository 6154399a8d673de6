"""The time at which a refresh token was returned again after a lost response (docs/decisions/0031)

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("repeated_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("refresh_tokens", column, schema="idp")


def downgrade() -> None:
    op.drop_column("refresh_tokens", "repeated_at", schema="idp")
