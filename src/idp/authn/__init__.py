"""Authentication of requests: parse the credential once, the first authenticator that owns it decides, default deny.

Owns: the chain and its four outcomes, verdicts and their cache, /auth/validate, introspection and "me". Does not own:
storage of credentials; authorization (`idp.principal.guards`). RFC 6750 (Bearer), RFC 9110 section 11.
"""
