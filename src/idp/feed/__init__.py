"""The feed of events: `GET /v1/events`, with a cursor, long polling and server-sent events.

Owns the route and the wait for new events. The order and the cursor are those of `events/reading.py`. Server-sent
events: WHATWG HTML section 9.2.
"""
