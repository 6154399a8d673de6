"""A person's journeys: sign-up and sign-in.

Owns: their order and their transactions. Does not own: any table; it calls users, directory, signing and audit.
"""
