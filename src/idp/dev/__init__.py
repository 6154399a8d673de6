"""What `idp dev` adds to the service: everything here is for one developer's machine.

Owns: a real PostgreSQL and a real Valkey as child processes (`embedded`), and the conveniences that only
development may have. Does not own: any rule of the service itself. Nothing outside `idp.dev` and `idp.cli`
imports this package, and the production image does not contain it.
"""
