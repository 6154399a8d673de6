"""`idp serve --workers N`: several processes on the same listening sockets (decision 0055).

The *supervisor* is the process that was started. It holds the sockets, and starts a *generation*: a fresh interpreter
that loads code and settings once and forks the *workers*, which serve. SIGHUP starts a new generation; the old one's
workers drain when the new one's are ready. Owns: processes and their metrics. Does not own: what a worker serves.
"""
