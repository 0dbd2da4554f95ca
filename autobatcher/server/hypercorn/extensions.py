"""What our connections tell an app beyond ASGI, as extensions of a scope. Other servers tell nothing of it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

BODY_IS_HERE = "autobatcher.body_is_here"
"""There if an app need not wait for the body."""

LISTENER = "autobatcher.listener"
"""A `Listener`."""


class Listener(Protocol):
    """A request whose app may be sent for, and woken, by other tasks while it waits for a message.

    Attributes:
        is_listening: whether it waits for its client to send something else, or to go.
    """

    is_listening: bool

    def send_now(self, message: MutableMapping[str, Any]) -> None:
        """Send for the app while it listens. Never waits.

        Raises:
            trio.WouldBlock: there is a rest. If the message was the last one, the app must send it with `send_rest`;
                else it goes with the next message.
        """

    async def send_rest(self) -> None:
        """Send what `send_now` left of the end of a response.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """

    def wake(self) -> None:
        """Have the app receive a message of the type `WOKEN`, if it waits for one."""


WOKEN = "autobatcher.woken"

HEADER_MEMORY = "autobatcher.header_memory"
"""A dict for what an app reads of the headers, but for the length of the body. The next request that has the same
headers comes with the same dict."""
