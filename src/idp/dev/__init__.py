"""Development-only parts of `idp dev`, for one developer's machine.

Owns: PostgreSQL and Valkey as child processes (`embedded`), dev headers, demo users, the mailbox. Does not own: rules
of the service. Nothing outside `idp.dev` and `idp.cli` imports this package, and the production image does not contain
it.
"""
