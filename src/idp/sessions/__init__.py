"""Sessions, and the refresh tokens and cookies that continue them.

Owns: starting a session (only with an unchanged password and an active user), refresh token rotation with reuse
detection (RFC 9700 section 4.14.2), the session cookie and CSRF protection. Does not own: authentication of users
(`idp.accounts`), combined revocation (`idp.lifecycle`).
"""
