"""Imports users and credentials of other services (`idp import`), and converts their exports to the format it reads.

Owns: the format `idp-import/1`, reading it safely, applying it in transactions of 1,000 lines that can be resumed, what
happens in a conflict, the exports of the four old services (`legacy`), and the readers of other products (`readers`).

Does not own: verifying imported credentials. Passwords are checked by `users/password_worker.py`, bcrypt API keys by
`authn/imported_keys.py`, digests of tokens by `apikeys`, and former ids are resolved by `authn/resolve.py`.
"""
