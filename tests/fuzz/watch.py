"""What is watched whatever the target: blocked loops, memory, defects, and what is left behind."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from . import process
from .defects import reported_defects
from .findings import Finding
from .leaks import Leaks
from .loop import LOOK_SECONDS, LoopWatch

MEMORY_BYTES = 300_000_000
"""How much a round may take beyond what was resident before it.

The engine reads two large answers at a time. Of each it has the line and the body, which is cut out of it: four times
the 60 MB that the upstream's largest answer has. An answer may also be on its way to its caller.
"""

SETTLE_SECONDS = 30.0
"""Until threads and sockets that were closed are gone."""


class Watch:
    """Watches while its block runs. Findings gather until `take`."""

    def __init__(self, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._settle_seconds = settle_seconds
        self._findings: list[Finding] = []
        self._is_over = threading.Event()
        self._stack = ExitStack()
        self._leaks = Leaks()
        self.loop = LoopWatch(self.report)
        self.warnings: Counter[str] = Counter()

    def report(self, kind: str, where: str, text: str) -> None:
        """Take a finding, from any thread."""
        self._findings.append(Finding(kind, where, text))

    def take(self) -> list[Finding]:
        """The findings since the last call, each once."""
        taken, self._findings = self._findings, []
        return list({finding.signature: finding for finding in reversed(taken)}.values())

    def __enter__(self) -> Watch:
        self.warnings = self._stack.enter_context(reported_defects(self.report))
        looking = threading.Thread(target=self._look, name="watch", daemon=True)
        looking.start()
        gc.callbacks.append(self.loop.take_collection)
        self._stack.callback(gc.callbacks.remove, self.loop.take_collection)
        self._stack.callback(looking.join)
        self._stack.callback(self._is_over.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self.loop.look()

    @contextmanager
    def bounded_memory(self) -> Iterator[None]:
        """The block may not take more than `MEMORY_BYTES`. What was garbage before is none of its memory."""
        process.tidy()
        before = process.resident_bytes()
        process.reset_peak()
        yield
        taken = process.peak_bytes() - before
        if taken > MEMORY_BYTES:
            self.report("memory", "a round", f"{taken / 1e6:.0f} MB at most beyond the {before / 1e6:.0f} MB before")

    @contextmanager
    def nothing_left_behind(self, name: str) -> Iterator[None]:
        """The block, a visit of the target `name`, leaves no descriptor, no thread, and no memory behind."""
        process.tidy()
        open_before, threads_before = process.descriptors(), process.threads()
        yield
        deadline = time.monotonic() + self._settle_seconds
        while (left := _left(open_before, threads_before)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            self.report("left behind", name, "\n".join(left))
        self._check_leak(name)

    def _check_leak(self, name: str) -> None:
        process.tidy()
        grown = self._leaks.growth(name, process.used_bytes())
        if grown:
            self.report("leak", name, f"{grown / 1e6:.0f} MB more in use after {name} than after its first visits")


def _left(open_before: dict[str, str], threads_before: set[str]) -> list[str]:
    opened = process.descriptors()
    return [
        *(f"descriptor {number}: {name}" for number, name in opened.items() if _is_new(open_before.get(number), name)),
        *(f"thread {name}" for name in process.threads() - threads_before),
    ]


def _is_new(before: str | None, name: str) -> bool:
    """Whether it was opened since. Pipes are those of multiprocessing, which keeps its server."""
    return before != name and not name.startswith("pipe:")
