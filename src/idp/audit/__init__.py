"""Append-only record of who did what, from where.

Owns: the table and the one function that writes it, inside the caller's transaction, so that a change and its record
live or die together; the chain of hashes over all records, behind the commit, and its verification
(docs/decisions/0014). Does not own: what is worth recording; each service says so where it acts.
"""
