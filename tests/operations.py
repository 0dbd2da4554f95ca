"""Counts what a piece of Python does, so that a test can tell how its cost grows. Seconds depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def operations(work: Callable[[], Any]) -> int:
    """How many bytecode instructions `work` executes. One of C, such as a search in a list, counts as one."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(work: Callable[[int], Callable[[], Any]], few: int = 50, many: int = 2_000) -> float:
    """How many times as much a piece of work costs with many of something as with few.

    Args:
        work: makes it, given how many there are.
    """
    return operations(work(many)) / operations(work(few))
