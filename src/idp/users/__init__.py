"""Users, identities, roles, passwords, one-time tokens.

Owns: normalization of addresses (NFC, lower case, IDNA), password hashing without blocking other requests. Does not
own: flows such as sign-up (`idp.accounts`), teams and domains (`idp.directory`).
"""
