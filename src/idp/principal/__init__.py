"""Who is calling: the one Principal, the names of roles and scopes, and the guards that read them.

Owns: the shape of the answer and the policies a route can declare. Does not own: how the answer is found (`idp.authn`).
"""
