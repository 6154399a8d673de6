"""Print a line for each request of `idp dev`."""

import sys

from litestar.types import HTTPScope

from idp.errors import IdpError
from idp.principal.model import Principal

_COLOURS = {2: "32", 3: "36", 4: "33", 5: "31"}  # SGR codes, by the first digit of the status
_WIDEST_PATH = 100
_PROBES = frozenset({"/healthz", "/readyz"})  # polled by programs


def print_request(scope: HTTPScope, status: int, seconds: float) -> None:
    """Print method, path, status, caller and milliseconds; for an error also its code and remedy.

    The query is omitted, because it may contain a one-time token. Successful probes are omitted too.
    """
    if scope["path"] in _PROBES and status == 200:
        return
    path = _printable(scope["path"])
    path = path if len(path) <= _WIDEST_PATH else f"{path[: _WIDEST_PATH - 1]}…"
    line = f"  {_coloured(status)} {_printable(scope['method']):<6} {path}  {_caller(scope)}{seconds * 1000:.1f} ms"
    error = scope.get("error")
    if isinstance(error, IdpError):
        line += f"  {error.code}: {_printable(error.remedy)}"
    print(line, flush=True)


def _caller(scope: HTTPScope) -> str:
    principal = scope.get("user")
    if not isinstance(principal, Principal):
        return ""
    user = principal.user
    name = (user.email or user.id) if user else (principal.credential.name or principal.credential.method)
    return f"{_printable(str(name))}  "


def _coloured(status: int) -> str:
    text = str(status) if status else "---"
    colour = _COLOURS.get(status // 100)
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and sys.stdout.isatty() else text


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
