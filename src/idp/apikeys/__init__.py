"""Machine credentials: keys of users and tokens of services, one table and one look-up for both (C-25).

Owns: their format (C-03b), their stored digests (C-03), and every change to them, through a single writer (C-27).
Does not own: the permissions of a key's user (`idp.authn.resolve`), and the meaning of scopes (other services).
"""
