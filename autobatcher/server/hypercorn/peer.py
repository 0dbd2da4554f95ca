"""Whether a client is gone, before the event loop has read that, and whether it read its response."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

PEER = "autobatcher.peer"
"""The key of a connection's `Peer` in the state of its scopes."""


class Peer:
    """A peer of which nothing is known before its disconnect is read."""

    __slots__ = ()

    def is_gone(self) -> bool:
        """Whether the client has closed its connection, even if that was not read yet. False if unknown."""
        return False

    def on_unread(self, unread: Callable[[bool], None]) -> bool:
        """Have `unread` called once it is known whether the last response was left unread: True or False.

        Returns False if that will never be known, and `unread` is not called.
        """
        return False

    def next_request(self) -> None:
        """The client sent another request, so it has read the last response."""


_select: Any = select  # what it has depends on the platform
_END = _RESET = 0
if hasattr(_select, "POLLRDHUP"):  # Linux; elsewhere a disconnect is known once it was read
    _RESET = _select.POLLHUP | _select.POLLERR
    _END = _select.POLLRDHUP | _RESET


class SocketPeer(Peer):
    """The other end of a connection that serves one request at a time."""

    __slots__ = ("_stream", "_unread")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._unread: Callable[[bool], None] | None = None

    def is_gone(self) -> bool:
        return self._stream.socket.fileno() < 0 or self._has(_END)

    def on_unread(self, unread: Callable[[bool], None]) -> bool:
        self._unread = unread
        return True

    def next_request(self) -> None:
        self._tell(False)

    def end(self) -> None:
        """The connection is about to be closed. A client that closes it with unread bytes resets it."""
        self._tell(self._stream.socket.fileno() >= 0 and self._has(_RESET))

    def _tell(self, was_unread: bool) -> None:
        unread, self._unread = self._unread, None
        if unread is not None:
            unread(was_unread)

    def _has(self, events: int) -> bool:
        if not events:
            return False
        poll = _select.poll()
        poll.register(self._stream.socket.fileno(), events)
        return bool(poll.poll(0))
