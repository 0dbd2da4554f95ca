"""Who runs the engine: the caller's nursery, or a background task for a client that is used without a block.

The first call starts the background task. No exception escapes it. It holds no reference to the client, which can be
collected. When the event loop ends, asyncio and trio cancel the task and wait for its bounded shutdown.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from ..errors import ClientClosedError, JournalError, WrongEventLoopError
from . import traced_calls
from .batcher import Batcher
from .event_loop import call_soon, is_alive, running_loop, runs, start_in_background
from .interruption import Interruption
from .lone_calls import LoneCalls
from .recovery.deliveries import Deliveries
from .request import Answer, Request
from .spending import Spending

logger: logging.Logger = logging.getLogger("autobatcher")


class Connections(Protocol):
    """The connections to the upstream. They belong to the event loop and to the process that opened them."""

    def check(self) -> None:
        """Raise `WrongEventLoopError` if they cannot be used in this process."""

    async def enter(self) -> None:
        """Prepare for the running event loop: drop connections of one that has ended."""

    async def leave(self) -> None:
        """Close the connections of the running event loop, which is about to end."""

    async def aclose(self) -> None:
        """Close them for good."""


AT_END_SECONDS = 5.0
"""Limit in seconds for closing the upstream's connections. This takes milliseconds, but TLS may wait for peers."""


WhileRunning = Callable[[Batcher], AbstractAsyncContextManager[object]]


class Host:
    """Starts a `Batcher` when a request needs one, and ends it.

    A client and its copies share one host. A batcher runs once. A host without a block starts a new one when the event
    loop of the old one has ended (a second `asyncio.run`).

    Args:
        connections: closed after the shutdown of an engine that was told to stop, in the task that ran it, so that a
            cancelled `close` does not prevent it. An engine that is cancelled with its event loop leaves them.

        spending: what all engines spend.

    Attributes:
        make_batcher: called for each engine. Tests replace it to inject a clock or a journal writer.
        while_running: makes a block around the life of each engine. It raises nothing.
    """

    _is_in_background = False  # for `__del__` of a partially constructed object, for example by `copy.deepcopy`

    def __init__(self, make_batcher: Callable[..., Batcher], connections: Connections, spending: Spending) -> None:
        self.spending: Spending = spending
        self.make_batcher: Callable[..., Batcher] = make_batcher
        self.while_running: WhileRunning = nullcontext
        self._connections = connections
        self._lone_calls = LoneCalls()
        self._interruption: Interruption | None = None
        self._batcher: Batcher | None = None
        self._loop: object = None  # of the last engine
        self._pid = 0
        self._is_closed = False
        self._is_well = True
        self._keeps_batches = False

    async def submit(self, request: Request) -> Answer:
        """`Batcher.submit`. Starts a background task for the engine if none runs.

        Raises:
            ClientClosedError: after `close`, or after the nursery that ran the engine has ended.
            WrongEventLoopError: if the engine runs in another event loop.

        Cancelled: the request is withdrawn; see `Batcher.submit`.
        """
        batcher = self._batcher_in_running_loop()
        self._lone_calls.ask(request, batcher.tally, batcher.settings)
        if batcher.tracer is not None:
            return await traced_calls.submit(batcher, batcher.tracer, request)
        return await batcher.submit(request)

    def submit_nowait(self, request: Request, *, is_awaited: bool = False) -> None:
        """`Batcher.submit_nowait`, with the engine started as by `submit`. Needs a running event loop.

        Args:
            is_awaited: whether the current task waits for its outcome, and does nothing else.

        Raises as `submit` does, or `anyio.WouldBlock`.
        """
        batcher = self._batcher_in_running_loop()
        if is_awaited:
            self._lone_calls.ask(request, batcher.tally, batcher.settings)
        batcher.submit_nowait(request)
        if batcher.tracer is not None:
            traced_calls.begin(batcher.tracer, request, batcher.tracer.now())

    async def enqueue(self, request: Request) -> None:
        """`Batcher.enqueue`, with the engine started as by `submit`. Raises as `submit` does."""
        batcher = self._batcher_in_running_loop()
        if batcher.tracer is not None:
            await traced_calls.enqueue(batcher, batcher.tracer, request)
            return
        try:
            batcher.submit_nowait(request)  # most find room, and a wait costs as much as all the rest
        except anyio.WouldBlock:
            await batcher.enqueue(request)

    def tell_refusal(self, request: Request, error: Exception) -> None:
        """Trace a request that `submit_nowait` or `enqueue` refused, and that is not tried again."""
        tracer = None if self._batcher is None else self._batcher.tracer
        if tracer is not None:
            tracer.refused(request, tracer.now(), error)

    def flush(self) -> None:
        """Close the open windows now. Needs the engine's event loop."""
        if self.is_running:
            assert self._batcher is not None
            self._batcher.queue.flush()
            self._batcher.recovery.flush_early()

    @property
    def deliveries(self) -> Deliveries | None:
        """For those who keep answers themselves; None without a journal."""
        return None if self._batcher is None else self._batcher.recovery.deliveries

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on)
        """Run the engine in the caller's task, until `close` or cancellation. See `Batcher.run`.

        Raises:
            RuntimeError: if it is already running.
            ClientClosedError: if the client was closed.
            JournalError: if the journal cannot be used. The caller may try again.
        """
        if self.is_running:
            raise RuntimeError("the engine of this client is already running")
        batcher = self._new_batcher(in_background=False)
        interruption, has_run = self._interruption, True
        try:
            await self._connections.enter()
            async with self.while_running(batcher):
                await batcher.run(task_status=task_status)
        except JournalError:
            has_run = False  # the caller may try again
            raise
        finally:
            if has_run:
                self._is_closed = True
                batcher.abandon()  # for when it was cancelled before it ran
                if interruption is not None:
                    interruption.tell()
                with anyio.move_on_after(AT_END_SECONDS, shield=True):
                    await self._connections.aclose()

    async def close(self) -> None:
        """Stop the engine and wait for its bounded shutdown. Idempotent.

        Cancelled: the engine still shuts down and closes the connections.
        """
        self._is_closed = True
        if self.is_running:
            assert self._batcher is not None
            self.stop()
            if self.is_in_running_loop:
                await self._batcher.wait_ended()

    def stop(self, *, well: bool = True) -> None:
        """Ask the engine to stop, and refuse further requests. Thread-safe. See `Batcher.stop`."""
        self._is_closed = True
        self._is_well = self._is_well and well
        if self.is_running:
            assert self._batcher is not None
            call_soon(self._loop, partial(self._batcher.stop, well=self._is_well))

    def keep_for_rerun(self, *, batches: bool = True) -> None:
        """Mark the shutdown as unsuccessful; see `Batcher.keep_for_rerun`. Thread-safe; call it before `stop`.

        Args:
            batches: whether to leave batches running, whatever the settings say.
        """
        self._is_well = False
        self._keeps_batches = self._keeps_batches or batches
        if batches and self._batcher is not None:
            self._batcher.keep_for_rerun()

    def note_failure(self, error: BaseException | None) -> None:
        """A block that uses the engine ended with this exception. Call it before `stop`."""
        if self._interruption is not None:
            self._interruption.note(error)

    @property
    def batcher(self) -> Batcher | None:
        """The running or last engine; None before the first."""
        return self._batcher

    @property
    def is_running(self) -> bool:
        batcher = self._batcher
        return batcher is not None and not batcher.has_ended and self._pid == os.getpid() and is_alive(self._loop)

    @property
    def is_in_running_loop(self) -> bool:
        """Whether the engine belongs to the running event loop."""
        return self._loop is running_loop()

    def __del__(self) -> None:
        if self._is_in_background and self.is_running:
            self.stop(well=False)
            warnings.warn(
                "a BatchOpenAI client was never closed: use `async with`, or `await client.close()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _batcher_in_running_loop(self) -> Batcher:
        if self._is_closed:
            raise ClientClosedError("The client is closed, or the nursery that ran it has ended.")
        if self._batcher is not None and not self._batcher.has_ended and self.is_in_running_loop:
            return self._batcher
        if self.is_running and not self._is_idle_in_a_stopped_loop:
            raise WrongEventLoopError(
                "This client is in use in another event loop. Make one client for each event loop."
            )
        batcher = self._new_batcher(in_background=True)
        run = partial(_run_to_the_end, batcher, self._connections, self.while_running, self._interruption)
        start_in_background(run, name="autobatcher engine", at_end=batcher.abandon)
        return batcher

    @property
    def _is_idle_in_a_stopped_loop(self) -> bool:
        """Whether the engine's event loop was stopped and not closed, and the engine has no requests."""
        return self._batcher is not None and not runs(self._loop) and not self._batcher.statistics().waiting_requests

    def _new_batcher(self, *, in_background: bool) -> Batcher:
        if self._is_closed:
            raise ClientClosedError("The client is closed.")
        self._connections.check()
        self._loop, self._pid = running_loop(), os.getpid()
        self._is_in_background = in_background
        self._batcher = self.make_batcher()
        self._interruption = Interruption(self._batcher)
        if self._keeps_batches:
            self._batcher.keep_for_rerun()
        return self._batcher


async def _run_to_the_end(
    batcher: Batcher, connections: Connections, while_running: WhileRunning, interruption: Interruption | None
) -> None:
    try:
        try:
            await connections.enter()
            async with while_running(batcher):
                await batcher.run()
        finally:
            batcher.abandon()  # for when it was cancelled before it ran
            if interruption is not None:
                interruption.tell()
            with anyio.move_on_after(AT_END_SECONDS, shield=True):
                await _close(connections, for_good=batcher.was_stopped)
    except JournalError as error:
        logger.error("autobatcher: %s", error)  # each caller was told
    except Exception:
        # In trio an exception of a system task is a TrioInternalError; asyncio only logs it at exit.
        logger.exception("autobatcher: a defect escaped the engine")


async def _close(connections: Connections, *, for_good: bool) -> None:
    """Close connections. An engine that was cancelled with its event loop may be followed by one in another loop."""
    try:
        await (connections.aclose() if for_good else connections.leave())
    except Exception:
        logger.exception("autobatcher: http_client raised while it was closed")
