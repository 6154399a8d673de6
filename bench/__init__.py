"""How fast is it, in processor time a request, beside what the machine and others can do?

Owns: the measuring. `python -m bench` starts PostgreSQL and Valkey, the service as production runs it, a bare ASGI
application on the same server (the ceiling) and peers that do the same work, lets `wrk` load them in turns, and writes
RESULTS.md. The unit is microseconds of processor time that the server's process tree spends on a request, which a
noisy neighbour hardly changes; ratios within one run count, absolute times do not travel.
Does not own: right or wrong answers (tests/), beyond checking what it measures.
"""
