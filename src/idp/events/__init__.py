"""Events: what happened to users, written in the transaction that did it, for other services to hear.

Owns: the catalogue of types, which is not whole yet, and the outbox. Does not own: their way to Kafka, which comes
later; what is written stays in the outbox until then.
"""
