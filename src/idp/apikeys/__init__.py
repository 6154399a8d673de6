"""Machine credentials: API keys of users and service tokens, in one table with one look-up (C-25).

Owns: their format (C-03b), storage of secrets (C-03), and all changes, through the single writer (C-27). Does not own:
the rights of a key's user (`idp.authn.resolve`), the meaning of scopes (other services).
"""
