"""`idp doctor`: checks a deployment against the production checklist (S3-48 to S3-58) and reports what to change.

Owns: the checks of settings (`configuration`), of PostgreSQL and Valkey (`database`, `shared_cache`), of a running
deployment seen from outside (`deployment`), and of an API that should refuse bad tokens (`tokens`). Does not own: what
stops `idp serve` from starting (`settings_safety`), which it repeats as problems.
"""
