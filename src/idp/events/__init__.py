"""Events for other services about every change to users, teams, domains, credentials and sessions.

Owns: the catalogue of types with the shape of their data; the outbox, written in the transaction of the change
(docs/decisions/0039); the CloudEvents envelope; the relay to Kafka. Does not own: when something changes; each service
publishes its own changes.
"""
