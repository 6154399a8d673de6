"""Peers: other software with the same function, each a small application installed into a temporary folder.

Owns: the S2 design as its documents describe it (FastAPI), oidc-provider over Valkey, better-auth over PostgreSQL (both
Node). A peer gets its port as an argument, and VALKEY_URL and DATABASE_URL in its environment, creates its data, and
prints one line: `READY {"requests": {name: {"method", "path", "headers", "body", "expect"}}}` (bench.traffic.Request).
A peer that cannot be installed or started is reported as missing.
"""
