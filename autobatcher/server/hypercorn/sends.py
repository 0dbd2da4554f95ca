"""How long a client may take to read what it is sent, and whether an app is told that it did not."""

from __future__ import annotations

from contextvars import ContextVar

STALLED_SECONDS = 60.0
"""How long a client may read nothing of a small piece of a response."""

LEAST_BYTES_PER_SECOND = 125_000
"""How fast it must read a large one: 1 Mbit/s. A slower client is disconnected."""


def send_seconds(size: int) -> float:
    """Time limit for sending so many bytes."""
    return STALLED_SECONDS + size / LEAST_BYTES_PER_SECOND


_BROKEN_SENDS_RAISE: ContextVar[bool] = ContextVar("BROKEN_SENDS_RAISE", default=False)


def let_broken_sends_raise() -> None:
    """In this task an app's `send` raises `trio.BrokenResourceError` when the client is gone.

    hypercorn ignores that. (With HTTP/2 only if the client reads too slowly: a separate task sends its responses.)
    """
    _BROKEN_SENDS_RAISE.set(True)


def do_broken_sends_raise() -> bool:
    """Whether this is such a task."""
    return _BROKEN_SENDS_RAISE.get()
