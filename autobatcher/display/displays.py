"""Where snapshots are shown: on a terminal, in a notebook, in a log, by a function of the user's."""

from __future__ import annotations

import html
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..printable import printable
from .sentence import sentence
from .snapshot import ProgressSnapshot

logger: logging.Logger = logging.getLogger("autobatcher")

REPAINT_SECONDS = 0.1
CALL_SECONDS = 1.0
LINE_SECONDS = 30.0


class Display(Protocol):
    """Shows snapshots. All methods but `open` are called in a thread of its own, and may block.

    Attributes:
        seconds: how long after a snapshot the next one is wanted.
        rate: how many seconds of the event loop pass for each of the viewer's.
        calls: how many calls are expected at least.
    """

    seconds: float
    rate: float
    calls: int

    def open(self) -> None:
        """Begin, in the thread of the event loop. Must not block."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        """Show a snapshot."""

    def close(self) -> None:
        """End. Nothing is shown after that."""


class Terminal:
    """A picture on a terminal, repainted in place. Its last state stays.

    Args:
        console: a `rich.console.Console`.
    """

    seconds: float = REPAINT_SECONDS

    def __init__(self, console: Any, *, rate: float = 1.0, calls: int = 0) -> None:
        self.rate: float = rate
        self.calls: int = calls
        self._console = console
        self._live: Any = None  # a new one each time: one that was stopped would erase what was written after it
        self._is_paused = False
        self._turn = threading.Lock()  # of this display's thread, and of whoever pauses it

    def open(self) -> None:
        """Nothing to do: the terminal may block."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        from .picture import picture

        with self._turn:
            if self._is_paused:
                return
            if self._live is None:
                self._begin()
            self._live.update(picture(snapshot), refresh=True)

    def _begin(self) -> None:
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()

    def close(self) -> None:
        """Leave the last picture where it is."""
        with self._turn:
            live, self._live = self._live, None
            if live is not None:
                live.stop()

    def pause(self) -> None:
        """Leave the last picture where it is, and paint nothing until `resume`: somebody else uses the terminal.

        Thread-safe. May block, as the terminal may.
        """
        self._is_paused = True
        self.close()

    def resume(self) -> None:
        """Go on, below what was written meanwhile. Thread-safe."""
        self._is_paused = False


class Notebook:
    """The same picture below a notebook's cell, as text."""

    seconds: float = 5 * REPAINT_SECONDS
    rate: float = 1.0
    calls: int = 0

    def __init__(self) -> None:
        self._handle: Any = None

    def open(self) -> None:
        """Make the output where the cell is. Another thread can only update it."""
        from IPython import display  # type: ignore[import-not-found, unused-ignore]

        self._handle = display.display({"text/plain": ""}, raw=True, display_id=True)

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        text = _drawn(snapshot)
        self._handle.update({"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}, raw=True)

    def close(self) -> None:
        """Leave the last picture where it is."""


def _drawn(snapshot: ProgressSnapshot) -> str:
    from rich.console import Console

    from .picture import picture

    console = Console(width=100, color_system=None, force_jupyter=False, force_terminal=True)
    with console.capture() as capture:
        console.print(picture(snapshot))
    return capture.get()


class Lines:
    """A line now and then, and one at the end.

    Args:
        write: takes each line; None for the log, or stderr if nobody reads the log.
        tells_end: whether there is a line at the end.
    """

    rate: float = 1.0
    calls: int = 0

    def __init__(
        self, write: Callable[[str], None] | None = None, seconds: float = LINE_SECONDS, *, tells_end: bool = True
    ) -> None:
        self.seconds: float = seconds
        self._tells_end = tells_end
        self._write = write or _log_or_print

    def open(self) -> None:
        """Nothing to do: the first line comes when there is something to tell."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        is_told = self._tells_end or not snapshot.is_final
        if is_told and (snapshot.requests or snapshot.submitted_batches):
            self._write(sentence(snapshot))

    def close(self) -> None:
        """Nothing to do: the line of the last snapshot was written."""


def _log_or_print(line: str) -> None:
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info("autobatcher: %s", line)
    elif sys.stderr is not None:
        print(printable(f"autobatcher: {line}"), file=sys.stderr, flush=True)


class Calls:
    """Calls a function of the user's with each snapshot."""

    rate: float = 1.0
    calls: int = 0

    def __init__(self, function: Callable[[ProgressSnapshot], object], seconds: float = CALL_SECONDS) -> None:
        self.seconds: float = seconds
        self._function = function

    def open(self) -> None:
        """Nothing to do."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        self._function(snapshot)

    def close(self) -> None:
        """Nothing to do."""
