"""Mail: a transactional outbox, and the sender with retries.

Owns: templates, the outbox, and the SMTP sender (RFC 5321). Does not own: when to send a mail (`idp.accounts`,
`idp.lifecycle`).
"""
