"""Tests of a service without a running idp: an issuer on loopback, its users and credentials, and bad tokens.

Owns: `Issuer`, the catalogue of bad tokens, and the fixtures of `idp_client.testing.plugin`, which pytest loads by the
entry point `pytest11`. Nothing else of `idp_client` imports it.
Does not own: sign-in, OAuth flows, and everything else that only the service does.
"""

from idp_client.testing.bad_tokens import KINDS as BAD_TOKENS
from idp_client.testing.bad_tokens import bad_tokens
from idp_client.testing.issuer import Issuer

__all__ = ["BAD_TOKENS", "Issuer", "bad_tokens"]
