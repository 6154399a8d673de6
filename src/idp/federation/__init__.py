"""Sign-in through other providers: we are their OAuth client (RFC 9700, OpenID Connect Core section 3.1; SEC-67 to 69).

Owns: presets of providers, requests to them, the state of a login on its way, linking of identities to accounts. Does
not own: verification of their tokens (`signing/foreign_jwt.py`), claim rules (`directory/claim_rules.py`), pages.
"""
