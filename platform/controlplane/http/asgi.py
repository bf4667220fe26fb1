"""Put ASGI applications side by side, by the beginning of the path."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def by_prefix(mounted: Mapping[str, Application], *, otherwise: Application) -> Application:
    """Return an application that hands "/prefix" and "/prefix/..." to `mounted["/prefix"]`."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        for prefix, application in mounted.items():
            if path == prefix or path.startswith(prefix + "/"):
                await application(scope, receive, send)
                return
        await otherwise(scope, receive, send)

    return dispatch
