"""`auth-cli`: the command of an old service, which manages service tokens (S2-05 to S2-14)."""

import sys


def main() -> None:
    """Say honestly that there is nothing to manage yet; see docs/roadmap.md."""
    print(
        "auth-cli: this version of idp has no service tokens yet, so there is nothing to create, list or revoke; "
        "docs/roadmap.md says what comes when.",
        file=sys.stderr,
    )
    sys.exit(1)
