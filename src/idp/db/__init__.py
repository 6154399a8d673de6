"""PostgreSQL access: engine, transactions, the base of all tables, migrations, change notifications.

Owns: connections, errors of a lost connection (503, never "invalid"), running Alembic. Does not own: tables; each
package has its own in `models.py`.
"""
