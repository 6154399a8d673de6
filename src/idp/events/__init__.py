"""Events: what happened to users, written in the transaction that did it, for other services to hear.

Owns: the catalogue of types, and the outbox. Does not own: their way to Kafka, which comes later; until then they stay
in the outbox.
"""
