"""What operators see: health, metrics, logs, limits, and the envelope every answer leaves in.

Owns: request ids, security headers, problem documents (RFC 9457), rate limits. Does not own: who is calling.
"""
