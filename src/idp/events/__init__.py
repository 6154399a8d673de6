"""Events for other services about changes to users (transactional outbox).

Owns: the catalogue of types, which is not complete yet, and the outbox. Does not own: the relay to Kafka, which comes
later; until then events stay in the outbox.
"""
