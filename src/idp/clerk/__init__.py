"""Synchronization with Clerk: its users, copied by webhooks and by comparison with its list (S0-01, S1-02).

Owns: the signature and the inbox of `POST /webhooks/clerk`, what a payload says about a user, when it applies, and the
comparison with Clerk's list of users. Does not own: session tokens (`authn/authenticators/clerk_jwt.py`), what belongs
together when a user is deleted or changes the address (`lifecycle/`), users (`users/`).
"""
