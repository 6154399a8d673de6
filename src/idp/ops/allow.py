"""A true `Allow` header on OPTIONS (RFC 9110 section 10.2.1)."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope


async def correct_allow(message: Message, scope: Scope) -> None:
    """Name every method of the path: the framework's own answer knows only the first handler's."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    template = scope.get("path_template")
    methods = {m for route in scope["litestar_app"].routes if route.path_format == template for m in route.methods}
    headers = MutableScopeHeaders(message)
    if methods and "allow" in headers:
        headers["allow"] = ", ".join(sorted(methods))
