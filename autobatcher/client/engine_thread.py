"""A thread with an event loop of its own, in which one engine works for all threads of a program."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  (its hook for the end must be there before ours: the last runs first)
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

from ..engine.batch.batch import SHUTDOWN_SECONDS
from ..engine.hosting import AT_END_SECONDS, Host
from ..errors import ClientClosedError, JournalError
from ..upstream.batch_api import CREATE_SECONDS

T = TypeVar("T")

STOP_SECONDS = CREATE_SECONDS + SHUTDOWN_SECONDS + 2 * AT_END_SECONDS
"""How long a program waits for the engine's goodbye: all its own limits together."""


class EngineThread:
    """Starts with the first call, and anew in a process that was forked from one in which it ran.

    Args:
        make_host: makes the engine's host, in the thread.
        at_end: called once, when the engine has said its goodbye, or will never have to.
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
        self._keeps: list[bool] = []  # what `keep_for_rerun` was told, for hosts that are yet to be made
        _running.add(self)

    @property
    def host(self) -> Host | None:
        """The engine's host; None before the first call."""
        return self._host

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def call(self, function: Callable[[Host], Awaitable[T]]) -> T:
        """Await `function` of the engine's host in the thread; its result, or what it raised.

        Interrupted (Ctrl-C): `function` is cancelled there.

        Raises:
            ClientClosedError: after `close`, or when the thread has ended.
            RuntimeError: in the engine's own thread, where an event handler runs: it would wait for itself.
        """
        portal, host = self._started()
        try:
            future: Future[T] = portal.start_task_soon(function, host)
        except RuntimeError as error:
            if self._thread is threading.current_thread():
                raise
            raise ClientClosedError("The client is closed.") from error
        try:
            return future.result()
        except FutureCancelledError as error:  # nobody here cancelled it: the engine's thread came to a sudden end
            raise ClientClosedError("The engine's thread has ended.") from error
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ask the engine to stop, from any thread, and do not wait for it."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if self._has_run_here:
            assert self._host is not None
            self._host.stop()
        elif not was_closed:
            self._at_end()

    def close(self) -> None:
        """Stop the engine and wait for its goodbye, which is bounded. Can be called again.

        In the engine's own thread, where an event handler runs, it does not wait.
        """
        self.stop()
        if self._has_run_here and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def keep_for_rerun(self, *, batches: bool) -> None:
        """`Host.keep_for_rerun`, also before the first call."""
        self._keeps.append(batches)
        if self._host is not None:
            self._host.keep_for_rerun(batches=batches)

    def forget_locks(self) -> None:
        """In a forked process: whoever held the lock is not here."""
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
        """The portal stays open until the engine has ended, and until every call in it has been told so."""
        try:
            async with BlockingPortal() as portal, anyio.create_task_group() as nursery:
                self._host, self._portal = self._make_host(), portal
                for batches in self._keeps:
                    self._host.keep_for_rerun(batches=batches)
                try:
                    await nursery.start(self._host.run)
                except JournalError as error:  # as it is, and not in a group
                    is_up.set_exception(error)
                else:
                    is_up.set_result(None)
        except BaseException as error:  # noqa: ASYNC103  (the thread ends here, and whoever started it is told)
            if is_up.done():
                raise
            is_up.set_exception(error)  # for the thread that wants to start this one


def dropped(thread: EngineThread) -> None:
    """For a client that was collected without being closed: end its engine, and say so."""
    if thread.host is not None and not thread.is_closed:
        thread.stop()
        message = "a BatchOpenAISync client was never closed: use `with`, or `client.close()`"
        warnings.warn(message, ResourceWarning, stacklevel=2)


_running: WeakSet[EngineThread] = WeakSet()


def _shut_down_all() -> None:
    """Threads of this kind do not keep a program alive; their engines still get their bounded goodbye, all at once."""
    threads = tuple(_running)
    for thread in threads:
        thread.stop()
    for thread in threads:
        thread.close()


def _forget_locks() -> None:
    for thread in tuple(_running):
        thread.forget_locks()


# Before concurrent.futures ends its threads, which a goodbye needs to look up host names: the same hook that it uses
# (CPython 3.9 to 3.14), or, should that go away, the one after it.
getattr(threading, "_register_atexit", atexit.register)(_shut_down_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
