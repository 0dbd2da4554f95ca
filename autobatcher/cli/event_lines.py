"""Lifecycle events as JSON lines on a stream, written by a thread: a stalled reader must not stall the proxy."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..printable import json_line

MOST_WAITING = 10_000
"""Events kept for a stalled reader, about five megabytes. Further ones are dropped and counted."""

FLUSH_SECONDS = 2.0
"""How long the program waits for such a reader at exit."""


class EventLines:
    """Takes events from the engine without blocking it."""

    def __init__(self, stream: TextIO) -> None:
        self.lost: int = 0
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)

    def write(self, fields: dict[str, Any]) -> None:
        """Write one event as one line, keys sorted."""
        try:
            self._waiting.put_nowait(json_line(fields))
        except queue.Full:
            self.lost += 1

    def _write_all(self) -> None:
        try:
            while (line := self._waiting.get()) is not None:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1  # the reader is gone

    def _finish(self) -> None:
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            self.lost += 1


@contextmanager
def event_lines(stream: TextIO) -> Iterator[EventLines]:
    """Write events to `stream` while the block runs; at its end, flush for at most `FLUSH_SECONDS`."""
    lines = EventLines(stream)
    thread = threading.Thread(target=lines._write_all, name="event lines", daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        lines._finish()
        thread.join(FLUSH_SECONDS)
