"""HTTP and operations: the outermost ASGI layer, errors, rate limits, health, metrics, logs.

Owns: request ids, security headers, problem documents (RFC 9457), rate limits. Does not own: who is calling.
"""
