"""hypercorn's HTTP/1.1, without a way out of it."""

from __future__ import annotations

import h11
import hypercorn.protocol
from hypercorn.protocol.h11 import H11Protocol


class HardenedH11(H11Protocol):
    """Begins HTTP/2 by prior knowledge only.

    A reverse proxy that passes `Upgrade: h2c` on, as many do for WebSockets, would open a tunnel past its own rules.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        if (event.method, event.http_version) == (b"PRI", b"2.0"):
            await super()._check_protocol(event)


# `ProtocolWrapper` looks the class up by this name.
setattr(hypercorn.protocol, "H11Protocol", HardenedH11)  # noqa: B010  (not in hypercorn's type stubs)
