"""Our signing keys, and the only place where a token is signed or verified.

Owns: the key ring (RFC 7517, staged rotation, private keys sealed at rest), access tokens (RFC 9068, RFC 8725).
Does not own: what a token's owner may do. `jwt.py` is the only file that imports joserfc's `jwt`.
"""
