"""What comes to a proxy, counted at its door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Arrivals:
    """Counts of HTTP requests.

    Attributes:
        requests: to any path, with any key.
        refused_keys: those that were answered 401.
    """

    requests: int = 0
    refused_keys: int = 0


def counting(app: Any, arrivals: Arrivals) -> Any:
    """An ASGI app that does what `app` does, and counts what comes."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        arrivals.requests += 1

        async def look_and_send(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                arrivals.refused_keys += 1
            await send(message)

        await app(scope, receive, look_and_send)

    return counted
