"""Sessions: where somebody signed in, until when, and the refresh tokens and cookies that continue it.

Owns: how a session begins (guarded by an unchanged password and an active user), rotation of refresh tokens with
detection of reuse (RFC 9700 section 4.14.2), the cookie and its protection against CSRF. Does not own: how somebody
proves who they are (`idp.accounts`), or what must end together (`idp.lifecycle`).
"""
