"""The audit log: append-only records of security-relevant changes, linked in a hash chain.

Owns: the table; `record`, which writes in the caller's transaction, so that a change and its record are committed
together; the hash chain, which is extended after the commit, and its verification (docs/decisions/0014). Does not own:
which changes are recorded; each service decides that.
"""
