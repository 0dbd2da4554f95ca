"""How long an event loop works without looking at its sockets.

A block is counted in CPU time of the loop's thread, so that a busy machine makes none. Blocks of the emulator and of
the mutations, which run in the same loop as what is tested, do not count. Nor do garbage collections: how long one
takes depends on all that this process holds, and most of that is the session's own.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from .findings import stack_of, where_of

BLOCK_SECONDS = 0.1
"""Of CPU time, without a look at the sockets."""

STALL_SECONDS = 10.0
"""Of any time: a loop that sleeps, or waits for a lock. A busy machine stops a thread for a second or two."""

LOOK_SECONDS = 0.02

Report = Callable[[str, str, str], None]


class LoopWatch:
    """Watches the one loop that calls `beat` and `rest`.

    Args:
        report: called with kind, place and text of a finding.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._thread = 0
        self._clock: int | None = None
        self._begun = self._begun_cpu = 0.0
        self._stack: traceback.StackSummary | None = None
        self._is_stalled = False
        self._collected = self._collection_begun = 0.0
        self.is_on = True
        self.longest = 0.0

    def beat(self) -> None:
        """The loop goes on: what it does from here to the next `rest` or `beat` is one block."""
        self.rest()
        thread = threading.get_ident()
        if thread != self._thread:
            self._clock = time.pthread_getcpuclockid(thread)
        self._stack = None
        self._is_stalled = False
        self._begun, self._begun_cpu, self._collected = time.monotonic(), time.thread_time(), 0.0
        self._thread = thread

    def rest(self) -> None:
        """The loop is about to wait for its sockets."""
        if self._thread == threading.get_ident():
            self._judge(time.thread_time() - self._begun_cpu - self._collected)
        self._thread = 0

    def take_collection(self, phase: str, info: dict[str, int]) -> None:
        """A garbage collection begins or ends: one of `gc.callbacks`."""
        if self._thread != threading.get_ident():
            return
        if phase == "start":
            self._collection_begun = time.thread_time()
        else:
            self._collected += time.thread_time() - self._collection_begun

    @contextmanager
    def exempt(self) -> Iterator[None]:
        """What the block does in the loop's thread does not count."""
        self.rest()
        try:
            yield
        finally:
            self._thread = 0
            self.beat()

    def look(self) -> None:
        """From another thread: keep the stack of a loop that has worked for too long."""
        thread, clock = self._thread, self._clock
        if not thread or clock is None or self._stack is not None:
            return
        if _used(clock) - self._begun_cpu > BLOCK_SECONDS:
            frame = sys._current_frames().get(thread)
            self._stack = None if frame is None else stack_of(frame)
        elif time.monotonic() - self._begun > STALL_SECONDS and not self._is_stalled:
            self._is_stalled = True
            self._tell_stall(thread)

    def _tell_stall(self, thread: int) -> None:
        frame = sys._current_frames().get(thread)
        stack = None if frame is None else stack_of(frame)
        where = "unknown" if stack is None else where_of(stack)
        if where is not None and self.is_on:
            self._report("stall", where, f"the loop stood still for {STALL_SECONDS} s\n{_written(stack)}")

    def _judge(self, seconds: float) -> None:
        where = "unknown" if self._stack is None else where_of(self._stack)
        if where is None or not self.is_on:
            return
        self.longest = max(self.longest, seconds)
        if seconds > BLOCK_SECONDS:
            text = f"the loop was blocked for {seconds * 1000:.0f} ms of CPU time\n{_written(self._stack)}"
            self._report("block", where, text)


def _used(clock: int) -> float:
    """The CPU time of a thread; none if it has just ended."""
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


def _written(stack: traceback.StackSummary | None) -> str:
    return "(its stack could not be seen)" if stack is None else "".join(stack.format())


class TrioBeats(trio.abc.Instrument):
    """Tells a `LoopWatch` of trio's loop."""

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch

    def before_io_wait(self, timeout: float) -> None:
        self._watch.rest()

    def after_io_wait(self, timeout: float) -> None:
        self._watch.beat()
