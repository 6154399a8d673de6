"""Combined revocation: a disabled or deleted user loses all credentials in one transaction (C-14).

Owns: the order of these steps. Does not own: tables; it calls users, apikeys, sessions and audit.
"""
