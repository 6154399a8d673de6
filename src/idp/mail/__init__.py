"""Mail: what is to be sent waits in an outbox, written in the transaction that wants it, and is sent after the commit.

Owns: the templates, the outbox, and the sender with its retries (RFC 5321). Does not own: why somebody is written to;
`idp.accounts` and `idp.lifecycle` say that.
"""
