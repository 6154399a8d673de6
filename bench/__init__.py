"""Benchmarks: processor time per request, compared with a bare ASGI server and with other services.

Owns: the measurements. `python -m bench` starts PostgreSQL and Valkey, the service as in production, a bare ASGI
application on the same server (the ceiling) and other services with the same function (peers), loads them in turns
with `wrk`, and writes RESULTS.md. The unit is microseconds of processor time of the server's process tree per request,
which other processes hardly change. Only ratios within one run are comparable.
Does not own: correctness (tests/), except that measured responses are checked.
"""
