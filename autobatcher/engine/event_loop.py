"""Which event loop runs now, and a task's place to wait in it: the two questions that every single request asks.

`anyio.lowlevel.current_token` and `anyio.Event` answer them, too. But a place to wait is most of what a waiting request
costs, in time and in objects that the garbage collector visits; so here is the shortest way that either loop has.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio


def running_loop() -> object:
    """What stands for the running event loop, as `current_token().native_token` does. Raises RuntimeError in none."""
    lowlevel = _trio_lowlevel()
    return asyncio.get_running_loop() if lowlevel is None else lowlevel.current_trio_token()


def place_to_wait() -> tuple[Any, Awaitable[object]]:
    """A place for the task that runs now, and what it is to await there, at once and once, until somebody calls `wake`.

    Cancelled: the task leaves at once; a later `wake` does nothing.
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is None:
        future = asyncio.get_running_loop().create_future()
        return future, future
    place = _PlaceOnTrio(lowlevel)
    return place, lowlevel.wait_task_rescheduled(place)


def wake(place: Any) -> None:
    """Let the task that waits at `place` go on. Synchronous; once."""
    if isinstance(place, _PlaceOnTrio):
        place.wake()
    elif not place.done():  # it is, if its task was cancelled and has not yet run
        place.set_result(None)


def _trio_lowlevel() -> Any:
    """`trio.lowlevel` in a task of trio's; None elsewhere. (There may be an asyncio loop, too, whose guest trio is.)"""
    lowlevel = sys.modules.get("trio.lowlevel")
    is_in_trio = getattr(lowlevel, "in_trio_task", None)  # which is missing while another thread imports trio
    return lowlevel if is_in_trio is not None and is_in_trio() else None


class _PlaceOnTrio:
    __slots__ = ("_lowlevel", "_task")

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel
        self._task: trio.lowlevel.Task | None = lowlevel.current_task()

    def __call__(self, _: object) -> trio.lowlevel.Abort:
        """Trio's "abort function": the task was cancelled."""
        self._task = None
        left: trio.lowlevel.Abort = self._lowlevel.Abort.SUCCEEDED
        return left

    def wake(self) -> None:
        if self._task is not None:
            self._lowlevel.reschedule(self._task)
            self._task = None
