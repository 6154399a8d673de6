"""The one way to PostgreSQL: the engine, written transactions, the base of every table, migrations.

Owns: connecting, what a lost connection looks like to a client (503, never "invalid"), running Alembic.
Does not own: any table. Each package keeps its own in `models.py`.
"""
