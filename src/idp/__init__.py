"""idp answers, for every request: who is calling, and what are they in this organisation?

Start reading at `idp.app`, which shows the chain of authenticators and every route;
`docs/request-flow.md` follows one request through the packages.
"""

__version__ = "1.0.0"
