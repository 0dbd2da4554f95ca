"""Event loop operations that anyio lacks or that are slow there. The only file that names a backend.

Every request needs the running loop and a way to wait. `anyio.lowlevel.current_token` and `anyio.Event` would do, but
an event is a fifth of the cost of a request (measured with 50,000 callers: 59 to 49 µs on asyncio, 70 to 58 on trio).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, ContextVar
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

_background_tasks: set[asyncio.Task[None]] = set()
"""asyncio keeps only weak references to tasks."""


def running_loop() -> object:
    """A token of the running event loop, like `current_token().native_token`. Raises RuntimeError outside of one."""
    if (loop := _asyncio_loop()) is not None:
        return loop
    lowlevel = _trio_lowlevel()
    return asyncio.get_running_loop() if lowlevel is None else lowlevel.current_trio_token()


def backend_of(loop: object) -> str:
    """The backend of a token: "asyncio" (uvloop, too) or "trio"."""
    return "asyncio" if isinstance(loop, asyncio.AbstractEventLoop) else "trio"


def is_alive(loop: object) -> bool:
    """Whether the loop of a token is not closed."""
    return call_soon(loop, _nothing)


def runs(loop: object) -> bool:
    """Whether the loop of a token runs right now, in any thread."""
    return loop.is_running() if isinstance(loop, asyncio.AbstractEventLoop) else is_alive(loop)


def call_soon(loop: Any, call: Callable[[], None]) -> bool:
    """Schedule a call in `loop`. Thread-safe. False if that loop is closed."""
    try:
        # trio.RunFinishedError is a RuntimeError, and so is the error of a closed asyncio loop
        (loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon)(call)
    except RuntimeError:
        return False
    return True


def start_in_background(
    run: Callable[[], Coroutine[Any, Any, None]],
    *,
    name: str,
    at_end: Callable[[], None],
    context: Context | None = None,
) -> None:
    """Run `run` in a background task of the running loop.

    Args:
        run: must raise nothing but Cancelled.
        at_end: called after it on asyncio, where a task can be cancelled before its first step.
        context: in which it runs; None for an empty one.
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is not None:
        lowlevel.spawn_system_task(run, name=name, context=context)
        return
    task = asyncio.get_running_loop().create_task(run(), name=name, context=context or Context())
    _background_tasks.add(task)
    task.add_done_callback(_background_tasks.discard)
    task.add_done_callback(lambda _: at_end())


def new_waiter() -> tuple[Any, Awaitable[object]]:
    """Make a waiter for the current task, and the awaitable that ends when `wake` is called with it.

    Await it once and immediately. Cancelled: a later `wake` does nothing.
    """
    loop = _asyncio_loop()
    lowlevel = _trio_lowlevel() if loop is None else None
    if lowlevel is None:
        future = (loop or asyncio.get_running_loop()).create_future()
        return future, future
    waiter = _TrioWaiter(lowlevel)
    return waiter, lowlevel.wait_task_rescheduled(waiter)


def wake(waiter: Any) -> None:
    """Wake the task of a waiter. Synchronous; call it once."""
    if isinstance(waiter, _TrioWaiter):
        waiter.wake()
    elif not waiter.done():  # done if its task was cancelled and has not run yet
        waiter.set_result(None)


CALLING_THREAD: ContextVar[Thread | None] = ContextVar("CALLING_THREAD", default=None)
"""The thread for which a task of an `EngineThread` makes a call."""


def current_caller() -> object:
    """Who makes a call: the current task, or the thread for which it works."""
    lowlevel = _trio_lowlevel()
    return CALLING_THREAD.get() or (asyncio.current_task() if lowlevel is None else lowlevel.current_task())


def call_in_task_soon(loop: Any, call: Callable[[], None]) -> bool:
    """`call_soon`, in a task: anyio's clock needs one on asyncio. (On trio there is always one.)"""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return call_soon(loop, lambda: _start_task(loop, call))
    return call_soon(loop, call)


def _start_task(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    async def run() -> None:
        call()

    task = loop.create_task(run(), context=Context())
    _background_tasks.add(task)
    task.add_done_callback(_background_tasks.discard)


def interrupt_probe() -> Callable[[], bool]:
    """Make a function that says whether the running event loop ends because of Ctrl-C.

    Call both in the loop. `asyncio.run` cancels its tasks then, a notebook's kernel the task of its cell, and trio
    those whose nursery holds the `KeyboardInterrupt`: who was cancelled has only their private names to tell why, as
    far as these exist.
    """
    lowlevel = _trio_lowlevel()
    if lowlevel is not None:
        return lambda: any(map(holds_interrupt, _trio_failures(lowlevel.current_task())))
    runner = getattr(getattr(signal.getsignal(signal.SIGINT), "func", None), "__self__", None)
    return lambda: bool(getattr(runner, "_interrupt_count", 0)) or _is_cell_interrupted()


def _is_cell_interrupted() -> bool:
    """Whether the cell that runs was interrupted: ipykernel's signal handler fulfils a future then."""
    handler: Any = signal.getsignal(signal.SIGINT)
    names = getattr(getattr(handler, "__code__", None), "co_freevars", ())
    if "sigint_future" not in names:
        return False
    future = handler.__closure__[names.index("sigint_future")].cell_contents
    return bool(future.done() and not future.cancelled())


def _trio_failures(task: Any) -> Iterator[object]:
    """The exceptions of the nurseries around a task, and of the main task."""
    run: Any = sys.modules.get("trio._core._run")
    runner = getattr(getattr(run, "GLOBAL_RUN_CONTEXT", None), "runner", None)
    yield getattr(getattr(runner, "main_task_outcome", None), "error", None)
    while task is not None and task.parent_nursery is not None:
        yield from getattr(task.parent_nursery, "_pending_excs", ())
        task = task.parent_nursery.parent_task


def holds_interrupt(error: object) -> bool:
    """Whether an exception is a `KeyboardInterrupt`, or a group with one."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The running loop of asyncio, but for tasks of trio as its guest; None elsewhere."""
    loop = asyncio._get_running_loop()  # `get_running_loop` raises without one, which takes twice as long
    if loop is None or (_may_be_in_trio() and asyncio.current_task(loop) is None):
        return None
    return loop


def _may_be_in_trio() -> bool:
    return "trio.lowlevel" in sys.modules


def _trio_lowlevel() -> Any:
    """`trio.lowlevel` in a trio task; None elsewhere. (In guest mode there is an asyncio loop, too.)"""
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
        """The abort function: the task was cancelled."""
        self._task = None
        aborted: trio.lowlevel.Abort = self._lowlevel.Abort.SUCCEEDED
        return aborted

    def wake(self) -> None:
        if self._task is not None:
            self._lowlevel.reschedule(self._task)
            self._task = None
