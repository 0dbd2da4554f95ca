"""What a piece of work costs: CPU, which depends on the machine, and steps, which do not."""

from __future__ import annotations

import gc
import sqlite3
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_SQLITE_STEPS = 100
_sqlite_steps = 0


def watch(db: sqlite3.Connection) -> None:
    """Count what this connection does, too."""

    def count() -> None:
        global _sqlite_steps
        _sqlite_steps += _SQLITE_STEPS

    db.set_progress_handler(count, _SQLITE_STEPS)


def steps(work: Callable[[], Any]) -> int:
    """How many bytecode instructions of Python and of SQLite the work executes in this thread.

    One that is written in C counts as one, such as a search in a list: CPU tells of those.
    """
    count, before = 0, _sqlite_steps

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count + _sqlite_steps - before


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU of all threads, without the garbage collector: what that costs grows with all that a program holds."""
    gc.collect()
    gc.disable()
    before = time.process_time()
    try:
        work()
        return time.process_time() - before
    finally:
        gc.enable()
