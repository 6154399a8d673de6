"""idp: an identity service that authenticates users and machines, for its own routes and for other services.

Start reading at `idp.app`, which shows the chain of authenticators and every route;
`docs/request-flow.md` follows one request through the packages.
"""

__version__ = "1.0.0"
