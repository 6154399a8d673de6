"""Account flows: sign-up, sign-in, verification, reset, profile, administration of users.

Owns: the steps and transactions of each flow. Does not own: tables; it calls users, directory, signing and audit.
"""
