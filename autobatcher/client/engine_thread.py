"""A thread with its own event loop, which runs one engine for all threads of a program."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  (registers its exit hook before ours: the last one runs first)
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakSet

import anyio
from anyio.from_thread import BlockingPortal

from ..engine.batch.leaving import SHUTDOWN_SECONDS
from ..engine.event_loop import CALLING_THREAD
from ..engine.hosting import AT_END_SECONDS, Host
from ..errors import ClientClosedError, JournalError
from ..upstream.batch_api import CREATE_SECONDS

T = TypeVar("T")

STOP_SECONDS = CREATE_SECONDS + SHUTDOWN_SECONDS + 2 * AT_END_SECONDS
"""Upper bound in seconds for the engine's shutdown: the sum of the limits of all steps."""


class EngineThread:
    """Starts with the first call, and again in a forked process.

    Args:
        make_host: makes the engine's host, in the thread.
        at_end: called once, after the engine's shutdown, or when the engine was never started.
    """

    def __init__(self, make_host: Callable[[], Host], at_end: Callable[[], None]) -> None:
        self._make_host = make_host
        self._at_end = at_end
        self._lock = threading.Lock()  # around the start alone
        self._pid = 0
        self._portal: BlockingPortal | None = None
        self._host: Host | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._keeps: list[bool] = []  # the calls of `keep_for_rerun`, for hosts that are made later
        _running.add(self)

    @property
    def host(self) -> Host | None:
        """The engine's host; None before the first call."""
        return self._host

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def call(self, function: Callable[[Host], Awaitable[T]]) -> T:
        """Await `function(host)` in the engine's thread. Returns its result or raises its exception.

        Interrupted (Ctrl-C): `function` is cancelled.

        Raises:
            ClientClosedError: after `close`, or when the thread has ended.
            RuntimeError: in the engine's own thread (in an event handler): the call would wait for itself.
        """
        portal, host = self._started()
        try:
            future: Future[T] = _start_for_this_thread(portal, function, host)
        except RuntimeError as error:
            if self._thread is threading.current_thread():
                raise
            raise ClientClosedError("The client is closed.") from error
        try:
            return future.result()
        except FutureCancelledError as error:  # not cancelled by us: the engine's thread died
            raise ClientClosedError("The engine's thread has ended.") from error
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ask the engine to stop and return at once. Thread-safe."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if self._has_run_here:
            assert self._host is not None
            self._host.stop()
        elif not was_closed:
            self._at_end()

    def close(self) -> None:
        """Stop the engine and wait at most `STOP_SECONDS` for its shutdown. Idempotent.

        In the engine's own thread (in an event handler) it does not wait.
        """
        self.stop()
        if self._has_run_here and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def keep_for_rerun(self, *, batches: bool) -> None:
        """`Host.keep_for_rerun`, also before the first call."""
        self._keeps.append(batches)
        if self._host is not None:
            self._host.keep_for_rerun(batches=batches)

    def note_failure(self, error: BaseException | None) -> None:
        """`Host.note_failure`."""
        if self._host is not None:
            self._host.note_failure(error)

    def forget_locks(self) -> None:
        """Replace the lock in a forked process, where the thread that held it does not exist."""
        self._lock = threading.Lock()

    @property
    def _has_run_here(self) -> bool:
        return self._pid == os.getpid()

    def _started(self) -> tuple[BlockingPortal, Host]:
        with self._lock:
            if self._is_closed:
                raise ClientClosedError("The client is closed.")
            if not self._has_run_here:
                self._start()
        assert self._portal is not None
        assert self._host is not None
        return self._portal, self._host

    def _start(self) -> None:
        is_up: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(is_up,), name="autobatcher", daemon=True)
        self._thread.start()
        is_up.result()
        self._pid = os.getpid()

    def _run(self, is_up: Future[None]) -> None:
        try:
            anyio.run(self._main, is_up)
        finally:
            if not isinstance(is_up.exception(), JournalError):  # after which it may be started again
                self._at_end()

    async def _main(self, is_up: Future[None]) -> None:
        """Run the engine in a portal, which stays open until the engine and all calls have ended."""
        try:
            async with BlockingPortal() as portal, anyio.create_task_group() as nursery:
                self._host, self._portal = self._make_host(), portal
                for batches in self._keeps:
                    self._host.keep_for_rerun(batches=batches)
                try:
                    await nursery.start(self._host.run)
                except JournalError as error:  # unwrapped, in no group
                    is_up.set_exception(error)
                else:
                    is_up.set_result(None)
        except BaseException as error:  # noqa: ASYNC103  (the thread ends here; the one that started it raises the error)
            if is_up.done():
                raise
            is_up.set_exception(error)


def _start_for_this_thread(portal: BlockingPortal, function: Callable[[Host], Awaitable[T]], host: Host) -> Future[T]:
    """`portal.start_task_soon`; the task inherits for which thread it works."""
    token = CALLING_THREAD.set(threading.current_thread())
    try:
        return portal.start_task_soon(function, host)
    finally:
        CALLING_THREAD.reset(token)


def dropped(thread: EngineThread) -> None:
    """Stop the engine of a client that was collected without being closed, and warn."""
    if thread.host is not None and not thread.is_closed:
        thread.stop()
        message = "a BatchOpenAISync client was never closed: use `with`, or `client.close()`"
        warnings.warn(message, ResourceWarning, stacklevel=2)


_running: WeakSet[EngineThread] = WeakSet()


def _shut_down_all() -> None:
    """Shut all engines down concurrently at exit. Their threads are daemons, which would be killed otherwise."""
    threads = tuple(_running)
    for thread in threads:
        thread.stop()
    for thread in threads:
        thread.close()


def _forget_locks() -> None:
    for thread in tuple(_running):
        thread.forget_locks()


# Must run before concurrent.futures stops its threads, because a shutdown looks up host names in them. So it uses the
# same private hook (CPython 3.9 to 3.14), or `atexit` if that is gone.
getattr(threading, "_register_atexit", atexit.register)(_shut_down_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
