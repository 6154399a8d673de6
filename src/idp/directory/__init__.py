"""The organisation: teams, domains, and who belongs to them.

Owns: those tables, the seed, and the routes to read and manage them. Does not own: users. A parent domain does not
imply its children, and an inactive team or domain leaves the principal at once (C-15).
"""
