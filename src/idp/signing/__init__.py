"""Signing keys and JWTs: the only package that signs and verifies tokens.

Owns: the key ring (RFC 7517, staged rotation, private keys encrypted at rest), access tokens (RFC 9068, RFC 8725), key
derivation. Does not own: authorization. `jwt.py` is the only file that imports joserfc's `jwt`.
"""
