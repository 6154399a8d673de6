"""New keys of e-mail addresses: two mailboxes are never one account (docs/decisions/0030)

Only non-ASCII addresses get another key. The new rule distinguishes all addresses that the old one did, so rows written
by idp do not collide. If other rows would, the row keeps its key, and `idp check-db` reports it.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from idp.users.email import email_key

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STORED = sa.text(r"SELECT id, email, email_key FROM idp.users WHERE email ~ '[^\x01-\x7f]'")
_SET = sa.text("""
UPDATE idp.users u SET email_key = :key
 WHERE id = :id AND (deleted_at IS NOT NULL OR NOT EXISTS (
       SELECT FROM idp.users o WHERE o.email_key = :key AND o.deleted_at IS NULL AND o.id <> u.id))
""")


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(_STORED).all():
        if (key := email_key(row.email)) != row.email_key:
            connection.execute(_SET, {"id": row.id, "key": key})


def downgrade() -> None:
    """Do nothing: the old keys cannot be restored."""
