"""A complete `Allow` header on OPTIONS (RFC 9110 section 10.2.1); HEAD is allowed wherever GET is (section 9.3.2)."""

from collections.abc import Iterable

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope


async def correct_allow(message: Message, scope: Scope) -> None:
    """List every method of the path; the framework lists only those of the first handler."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    template = scope.get("path_template")
    methods = {m for route in scope["litestar_app"].routes if route.path_format == template for m in route.methods}
    headers = MutableScopeHeaders(message)
    if methods and "allow" in headers:
        headers["allow"] = allowed(methods)


def allowed(methods: Iterable[str]) -> str:
    """Return the value of the header for these methods."""
    known = {str(method) for method in methods}
    return ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))
