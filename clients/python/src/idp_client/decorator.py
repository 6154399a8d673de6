"""A decorator that authenticates handlers of Starlette, FastAPI, Litestar, or plain ASGI."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from idp_client.asgi import authentication_of

P = ParamSpec("P")
R = TypeVar("R")


def authenticated(
    *, required_scopes: Iterable[str] = (), required_roles: Iterable[str] = ()
) -> Callable[[Callable[P, Any]], Callable[P, Awaitable[Any]]]:
    """Require an authenticated caller with all of these scopes and roles.

        @authenticated(required_scopes=["read"])
        async def echo(request): ...

    One of the handler's arguments must be its request, WebSocket, or (plain ASGI) scope. A handler that is not `async`
    runs in a thread.

    Args:
        required_scopes: empty for any authenticated caller.
        required_roles: roles of the user, such as `admin`; services have none.
    """
    scopes, roles = tuple(required_scopes), tuple(required_roles)

    def decorate(handler: Callable[P, Any]) -> Callable[P, Awaitable[Any]]:
        @functools.wraps(handler)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            authentication = authentication_of(_scope([*args, *kwargs.values()]))
            await authentication.require(scopes, required_roles=roles)
            if inspect.iscoroutinefunction(handler):
                return await handler(*args, **kwargs)
            return await asyncio.to_thread(handler, *args, **kwargs)

        return guarded

    return decorate


def _scope(arguments: Iterable[object]) -> Mapping[str, Any]:
    for argument in arguments:
        scope = getattr(argument, "scope", argument)
        if isinstance(scope, Mapping) and "type" in scope:
            return scope
    raise RuntimeError("an authenticated handler must get its request as an argument")
