"""What the engine wants of an event loop that anyio has no name for, or only a slow one: the library's only file that
names a backend.

`anyio.lowlevel.current_token` and `anyio.Event` would tell the running loop and let a task wait. But every single
request asks for both, and an event is a fifth of what it costs, in time and in objects that the garbage collector
visits (measured: 59 to 49 µs on asyncio, 70 to 58 on trio, with fifty thousand callers).
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
"""asyncio itself keeps only weak references to tasks."""


def running_loop() -> object:
    """What stands for the running event loop, as `current_token().native_token` does. Raises RuntimeError in none."""
    lowlevel = _trio_lowlevel()
    return asyncio.get_running_loop() if lowlevel is None else lowlevel.current_trio_token()


def is_alive(loop: object) -> bool:
    """Whether that loop, as `running_loop` told it, still runs."""
    return call_soon(loop, _nothing)


def call_soon(loop: Any, call: Callable[[], None]) -> bool:
    """Have `loop` make a call, from this thread or another one; False if that loop is over."""
    try:
        # trio.RunFinishedError is a RuntimeError, like what a closed asyncio loop raises
        (loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon)(call)
    except RuntimeError:
        return False
    return True


def start_in_background(run: Callable[[], Coroutine[Any, Any, None]], *, name: str, at_end: Callable[[], None]) -> None:
    """Run `run` in a task that belongs to the running loop, with nothing of the caller's context.

    Args:
        run: must raise nothing but Cancelled.
        at_end: called after it, where `run` may never have taken its first step (asyncio: cancelled before that).
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
    """A waiter for the running task, and what the task must await, at once and only once, until `wake` is called.

    Cancelled: the task leaves at once; a later `wake` does nothing.
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is None:
        future = asyncio.get_running_loop().create_future()
        return future, future
    waiter = _TrioWaiter(lowlevel)
    return waiter, lowlevel.wait_task_rescheduled(waiter)


def wake(waiter: Any) -> None:
    """Let the task that waits at `waiter` go on. Synchronous; once."""
    if isinstance(waiter, _TrioWaiter):
        waiter.wake()
    elif not waiter.done():  # it is, if its task was cancelled and has not yet run
        waiter.set_result(None)


def _trio_lowlevel() -> Any:
    """`trio.lowlevel` in a task of trio's; None elsewhere. (There may be an asyncio loop, too, whose guest trio is.)"""
    lowlevel = sys.modules.get("trio.lowlevel")
    is_in_trio = getattr(lowlevel, "in_trio_task", None)  # which is missing while another thread imports trio
    return lowlevel if is_in_trio is not None and is_in_trio() else None


def _nothing() -> None:
    pass


class _TrioWaiter:
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
