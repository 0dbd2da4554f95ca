"""Long computations in steps, so that other tasks of the event loop get their turns in between."""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import TypeVar

from anyio.lowlevel import checkpoint

Result = TypeVar("Result")
Steps = Generator[None, None, Result]
"""A computation that yields every few milliseconds and returns its result."""


def at_once(steps: Steps[Result]) -> Result:
    """Run a computation without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


async def in_turns(steps: Steps[Result]) -> Result:
    """Run a computation while other tasks run, too. Cancelled: it stops after a step."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        await checkpoint()


COPIED_BYTES = 1_000_000
"""How much is copied in one step. Takes half a millisecond."""


def copying(content: bytes, begin: int, end: int, target: io.BytesIO) -> Steps[None]:
    """Write a part of `content` to `target`, whose `getvalue` makes no copy. A slice of 256 MB takes 0.1 s."""
    view = memoryview(content)
    for at in range(begin, end, COPIED_BYTES):
        target.write(view[at : min(at + COPIED_BYTES, end)])
        yield
