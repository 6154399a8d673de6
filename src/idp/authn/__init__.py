"""Request -> Principal: credentials are parsed once, the first authenticator that owns one decides, default deny.

Owns: the chain and its four outcomes, the one introspection decision behind every face, /auth/validate and "me".
Does not own: any credential's storage, and what a principal may do (`idp.principal.guards`).
RFC 6750 (Bearer), RFC 9110 section 11.
"""
