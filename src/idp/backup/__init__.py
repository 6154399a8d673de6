"""Backups of the database: consistent, encrypted under the root secret, restored by the migrations of their revision.

Owns: the file (`sealed_file`, `records`), reading all tables in one snapshot (`dump`), and loading them into an empty
schema (`load`). Does not own: point-in-time recovery, which PostgreSQL itself has. Decision 0053 explains the format.
"""
