"""Changes to a user that also revoke their keys, sessions and links, in one transaction (C-14).

Owns: the order of those steps. Does not own: any table; it calls users, apikeys, sessions and audit.
"""
