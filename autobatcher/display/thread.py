"""The thread that shows snapshots. A display that blocks, such as a stalled terminal, holds up nothing else.

Snapshots are taken in the event loop, one when the thread asks for it, and shown in the thread. So neither reads what
the other is changing, and a slow display gets fewer of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from queue import Empty, SimpleQueue

import anyio

from .displays import Display
from .snapshot import ProgressSnapshot

logger: logging.Logger = logging.getLogger("autobatcher")

END_SECONDS = 2.0
"""How long the end waits for a display that blocks. It shows nothing more after that."""

_USUAL_END_SECONDS = 0.1

AT_ONCE_SECONDS = 1.0
"""Displays that want snapshots this often get the first one at once."""

Finish = Callable[[], ProgressSnapshot]
"""Does the rest of a snapshot that needs no event loop, such as looking up prices. Called in the thread."""

Take = Callable[[bool], Finish]
"""Takes a snapshot, in the event loop. Its argument: whether it is the last one."""

CallSoon = Callable[[Callable[[], None]], object]


@asynccontextmanager
async def shown(display: Display, take: Take, call_soon: CallSoon) -> AsyncGenerator[None]:
    """Show progress while the block runs, and where it ended.

    Args:
        call_soon: calls a function in this event loop, soon. Thread-safe.

    Cancelled: the end waits for the display all the same, `END_SECONDS` at most.
    """
    thread = DisplayThread(display, take, call_soon)
    thread.start()
    try:
        yield
    finally:
        thread.finish()
        try:
            with anyio.move_on_after(END_SECONDS, shield=True):
                while not thread.has_ended(_USUAL_END_SECONDS):  # noqa: ASYNC110  (it may never end)
                    await anyio.sleep(_USUAL_END_SECONDS)
        finally:
            thread.abandon()


class DisplayThread:
    """Asks the event loop for snapshots and shows them, until `finish`."""

    def __init__(self, display: Display, take: Take, call_soon: CallSoon) -> None:
        self._display = display
        self._take = take
        self._call_soon = call_soon
        self._taken: SimpleQueue[tuple[Finish, bool]] = SimpleQueue()
        self._is_asked = False
        self._is_over = False
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name="autobatcher progress", daemon=True)

    def start(self) -> None:
        """Begin. Call it in the event loop."""
        try:
            self._display.open()
        except Exception:
            self._give_up()
        if self._display.seconds <= AT_ONCE_SECONDS:
            self._put(is_final=False)
        self._thread.start()

    def finish(self) -> None:
        """Show the last snapshot, and end soon. Call it in the event loop."""
        self._put(is_final=True)

    def has_ended(self, seconds: float) -> bool:
        """Whether the thread has ended; wait for it for that long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Show nothing more, even if the display comes back to life."""
        self._is_over = self._is_abandoned = True

    def _put(self, *, is_final: bool) -> None:
        """Runs in the event loop."""
        self._taken.put((self._take(is_final), is_final))

    def _run(self) -> None:
        is_final = False
        while not is_final:
            try:
                finish, is_final = self._taken.get(timeout=self._display.seconds)
            except Empty:
                self._ask()
            else:
                self._show(finish)
        self._close()

    def _ask(self) -> None:
        if not self._is_asked and not self._is_over:
            self._is_asked = True
            self._call_soon(self._answer)

    def _answer(self) -> None:
        """Runs in the event loop."""
        self._is_asked = False
        self._put(is_final=False)

    def _show(self, finish: Finish) -> None:
        try:
            snapshot = None if self._is_over else finish()
            if snapshot is not None and not self._is_abandoned:
                self._display(snapshot)
        except Exception:
            self._give_up()

    def _close(self) -> None:
        try:
            if not self._is_abandoned:
                self._display.close()
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        """A terminal is gone, or a function of the user's raised: calls are more important than their display."""
        self._is_over = True
        logger.warning("autobatcher: progress is not shown any more: its display raised an exception", exc_info=True)
