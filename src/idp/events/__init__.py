"""Events for other services: a catalogue of types and a transactional outbox.

Owns: the event types (incomplete) and the outbox. Does not own: publishing to Kafka, which comes later; until then
events stay in the outbox.
"""
