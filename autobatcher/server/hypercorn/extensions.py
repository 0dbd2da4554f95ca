"""What our connections tell an app beyond ASGI, as extensions of a scope. Other servers tell nothing of it."""

from __future__ import annotations

from typing import Protocol

BODY_IS_HERE = "autobatcher.body_is_here"
"""There if an app need not wait for the body."""

LISTENER = "autobatcher.listener"
"""A `Listener`."""


class Listener(Protocol):
    """A request whose app may be sent for, and woken, by other tasks while it waits for a message.

    Attributes:
        sends_now: set by another task while it sends for the app, which listens. ASGI's `send` then never waits, but
            raises `trio.WouldBlock` if there is a rest: of the last message, the app must send it with `send_rest`;
            else it goes with the next message.
    """

    sends_now: bool

    @property
    def is_listening(self) -> bool:
        """Whether it waits for its client to send something else, or to go."""

    async def send_rest(self) -> None:
        """Send what is left of the end of a response.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """

    def wake(self) -> None:
        """Have the app receive a message of the type `WOKEN`, if it waits for one."""


WOKEN = "autobatcher.woken"

HEADER_MEMORY = "autobatcher.header_memory"
"""A dict for what an app reads of the headers, but for the length of the body. The next request that has the same
headers comes with the same dict."""
