"""Machine credentials: keys of users and tokens of services, one table and one look-up for both (C-25).

Owns: their format (C-03b), what is stored of a secret (C-03), and every change to them, which passes the one writer
(C-27). Does not own: what a key's user may do (`idp.authn.resolve` asks), nor what a scope means (other services do).
"""
