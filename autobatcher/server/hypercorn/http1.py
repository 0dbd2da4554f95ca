"""hypercorn's HTTP/1.1, without a way out of it."""

from __future__ import annotations

from typing import Any

import h11
import hypercorn.protocol
from hypercorn.events import Updated
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol

CLOSE = (b"connection", b"close")
"""The header of a response after which the connection is to be closed. HTTP/2 has a frame for that."""


def keeps_alive(context: Any) -> bool:
    """Whether a connection may be used for another request: see `EndingContext`. The emulator has hypercorn's own."""
    return bool(getattr(context, "keeps_alive", True))


class HardenedH11(H11Protocol):
    """Begins HTTP/2 by prior knowledge only.

    A reverse proxy that passes `Upgrade: h2c` on, as many do for WebSockets, would open a tunnel past its own rules.
    """

    async def stream_send(self, event: Any) -> None:
        """Like hypercorn's, and say so if the connection is closed after a response."""
        if isinstance(event, Response) and not keeps_alive(self.context) and CLOSE not in event.headers:
            event.headers.append(CLOSE)
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        if (event.method, event.http_version) == (b"PRI", b"2.0"):
            await self.send(Updated(idle=True))  # it is no request, and not answered
            await super()._check_protocol(event)


# `ProtocolWrapper` looks the class up by this name.
setattr(hypercorn.protocol, "H11Protocol", HardenedH11)  # noqa: B010  (not in hypercorn's type stubs)
