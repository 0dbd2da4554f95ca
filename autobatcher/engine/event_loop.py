"""Event loop functions that anyio lacks, or has only in a slower form. No other file of the library names a backend.

`anyio.lowlevel.current_token` and `anyio.Event` would do, but every request needs both, and an event is a fifth of a
request's cost, in time and in objects for the garbage collector (measured: 59 to 49 µs on asyncio, 70 to 58 on trio,
with fifty thousand callers).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

_background_tasks: set[asyncio.Task[None]] = set()
"""asyncio keeps only weak references to tasks."""


def running_loop() -> object:
    """Return an object that identifies the running event loop, like `current_token().native_token`.

    Raises:
        RuntimeError: if no event loop is running.
    """
    lowlevel = _trio_lowlevel()
    return asyncio.get_running_loop() if lowlevel is None else lowlevel.current_trio_token()


def is_alive(loop: object) -> bool:
    """Whether that loop (from `running_loop`) still runs."""
    return call_soon(loop, _nothing)


def call_soon(loop: Any, call: Callable[[], None]) -> bool:
    """Schedule a call in `loop`, from any thread; False if the loop has ended."""
    try:
        # trio.RunFinishedError is a RuntimeError, and so is the error of a closed asyncio loop
        (loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon)(call)
    except RuntimeError:
        return False
    return True


def start_in_background(run: Callable[[], Coroutine[Any, Any, None]], *, name: str, at_end: Callable[[], None]) -> None:
    """Run `run` in a task that belongs to the running loop, in an empty context.

    Args:
        run: must raise nothing but Cancelled.
        at_end: called after it. Useful if `run` never took its first step (asyncio: cancelled before it).
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is not None:
        lowlevel.spawn_system_task(run, name=name)
        return
    task = asyncio.get_running_loop().create_task(run(), name=name, context=Context())
    _background_tasks.add(task)
    task.add_done_callback(_background_tasks.discard)
    task.add_done_callback(lambda _: at_end())


def new_waiter() -> tuple[Any, Awaitable[object]]:
    """Return a waiter for the running task, and an awaitable that lasts until `wake`. Await it at once, and only once.

    Cancelled: the await ends at once, and a later `wake` does nothing.
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is None:
        future = asyncio.get_running_loop().create_future()
        return future, future
    waiter = _TrioWaiter(lowlevel)
    return waiter, lowlevel.wait_task_rescheduled(waiter)


def wake(waiter: Any) -> None:
    """Wake the task of `waiter`. Synchronous; call it once."""
    if isinstance(waiter, _TrioWaiter):
        waiter.wake()
    elif not waiter.done():  # done if the task was cancelled and has not run since
        waiter.set_result(None)


def _trio_lowlevel() -> Any:
    """Return `trio.lowlevel` in a trio task; None elsewhere. (In guest mode an asyncio loop runs as well.)"""
    lowlevel = sys.modules.get("trio.lowlevel")
    is_in_trio = getattr(lowlevel, "in_trio_task", None)  # missing while another thread imports trio
    return lowlevel if is_in_trio is not None and is_in_trio() else None


def _nothing() -> None:
    pass


class _TrioWaiter:
    __slots__ = ("_lowlevel", "_task")

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel
        self._task: trio.lowlevel.Task | None = lowlevel.current_task()

    def __call__(self, _: object) -> trio.lowlevel.Abort:
        """Trio's abort function: the task was cancelled."""
        self._task = None
        aborted: trio.lowlevel.Abort = self._lowlevel.Abort.SUCCEEDED
        return aborted

    def wake(self) -> None:
        if self._task is not None:
            self._lowlevel.reschedule(self._task)
            self._task = None
