"""People's records: users, identities, roles, passwords.

Owns: what an address is (NFC, casefolded, IDNA), how a password is checked without stalling other requests.
Does not own: journeys such as sign-up (`idp.accounts`) or what a user is in the organisation (`idp.directory`).
"""
