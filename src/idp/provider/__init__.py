"""The OAuth 2.0 and OpenID provider (RFC 6749): clients and their tokens.

Owns: clients with their secrets, the token endpoint and the metadata of RFC 8414. Does not own: signing
(`signing/jwt.py`), and what a token means in a request (`authn/`).
"""
