"""Outbound webhooks: events of the outbox, signed and posted to registered endpoints (Standard Webhooks 1.0).

Owns the endpoints, their secrets, the deliveries and their retries. Each endpoint has a position in the outbox
(`events/reading.py`), so a slow or dead one delays no other. Clerk's inbound webhooks are in `clerk/`.
"""
