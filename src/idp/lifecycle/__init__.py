"""What must happen together: when somebody leaves, everything they could act with ends in the same transaction (C-14).

Owns: the order of those steps. Does not own: any table; it calls users, apikeys, sessions and audit.
"""
