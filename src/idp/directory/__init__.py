"""The organization: teams, domains, and their members.

Owns: their tables, the seed, and their routes. Does not own: users. Membership in a parent domain does not include its
children, and an inactive team or domain is removed from principals immediately (C-15).
"""
