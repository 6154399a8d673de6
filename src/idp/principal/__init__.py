"""The principal, roles and scopes, and the guards that authorize routes.

Owns: the principal's structure and the policies of routes. Does not own: authentication (`idp.authn`).
"""
