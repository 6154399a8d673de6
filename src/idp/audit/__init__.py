"""Append-only audit records and their hash chain.

Owns: the table and the function that writes it inside the caller's transaction; the hash chain over all records, built
after the commit, and its verification (docs/decisions/0014). Does not own: which actions are recorded; each service
decides.
"""
