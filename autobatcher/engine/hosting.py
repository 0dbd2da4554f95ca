"""Who runs the engine: the caller's nursery or, for a client used without one, a background task.

The background task starts with the first call. No exception escapes it. It holds no reference that would keep the
client from being collected. Both event loops cancel it and wait for it when they end, so it always gets its bounded
shutdown, unless the process is killed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from anyio.abc import TaskStatus

from ..errors import ClientClosedError, JournalError, WrongEventLoopError
from .batcher import Batcher
from .event_loop import call_soon, is_alive, running_loop, start_in_background
from .request import Answer, Request

logger: logging.Logger = logging.getLogger("autobatcher")

AtEnd = Callable[[], Awaitable[None]]

AT_END_SECONDS = 5.0
"""How long closing the upstream's connections may take, in seconds. Usually milliseconds, but TLS may wait for
peers."""


class Host:
    """Makes sure that a `Batcher` runs while requests need one, and that it ends.

    A client and its copies share one host. A batcher runs only once. If its event loop has ended, a host without a
    nursery starts a new one (for example in a second `asyncio.run`).

    Args:
        make_batcher: called for each engine.
        at_end: closes what the engine used. The task that ran the engine calls it after the engine was stopped, so it
            also runs if the caller of `close` was cancelled.

    Attributes:
        make_batcher: tests replace it to pass another clock or writer.
    """

    _is_in_background = False  # for `__del__` of a partially constructed host, for example by `copy.deepcopy`

    def __init__(self, make_batcher: Callable[..., Batcher], at_end: AtEnd) -> None:
        self.make_batcher: Callable[..., Batcher] = make_batcher
        self._at_end = at_end
        self._batcher: Batcher | None = None
        self._loop: object = None  # the loop of the last engine
        self._is_closed = False
        self._is_well = True
        self._keeps_batches = False

    async def submit(self, request: Request) -> Answer:
        """Like `Batcher.submit`, with a background task that runs the engine if nothing else does.

        Raises:
            ClientClosedError: after `close`, or after the nursery that ran the engine has ended.
            WrongEventLoopError: if the engine runs in another event loop.

        Cancelled: as in `Batcher.submit`.
        """
        return await self._batcher_in_running_loop().submit(request)

    def submit_nowait(self, request: Request) -> None:
        """Like `Batcher.submit_nowait`, with the background task and the errors of `submit`. Needs a running event
        loop."""
        self._batcher_in_running_loop().submit_nowait(request)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on)
        """Run the engine in the caller's task, until `close` or cancellation. See `Batcher.run`.

        Raises:
            RuntimeError: if it is already running.
            ClientClosedError: if the client was closed.
            JournalError: if the journal cannot be used. `run` can be called again then.

        Cancelled: the engine shuts down within its bounds.
        """
        if self.is_running:
            raise RuntimeError("the engine of this client is running already")
        batcher = self._new_batcher(in_background=False)
        has_run = True
        try:
            await batcher.run(task_status=task_status)
        except JournalError:
            has_run = False
            raise
        finally:
            if has_run:
                self._is_closed = True
                with anyio.move_on_after(AT_END_SECONDS, shield=True):
                    await self._at_end()

    async def close(self) -> None:
        """Stop the engine and wait for its bounded shutdown. Can be called again.

        Cancelled: the engine still stops, and closes what it used.
        """
        self._is_closed = True
        if self.is_running:
            assert self._batcher is not None
            self.stop()
            if self.is_in_running_loop:
                await self._batcher.wait_ended()

    def stop(self, *, well: bool = True) -> None:
        """Ask the engine to stop, from any thread. Nothing can be submitted after this. See `Batcher.stop`."""
        self._is_closed = True
        self._is_well = self._is_well and well
        if self.is_running:
            assert self._batcher is not None
            call_soon(self._loop, partial(self._batcher.stop, well=self._is_well))

    def keep_for_rerun(self, *, batches: bool = True) -> None:
        """Treat the end as unsuccessful; see `Batcher.keep_for_rerun`. From any thread, before the engine stops.

        Args:
            batches: whether to leave batches running, too, whatever the settings say.
        """
        self._is_well = False
        self._keeps_batches = self._keeps_batches or batches
        if batches and self._batcher is not None:
            self._batcher.keep_for_rerun()

    @property
    def batcher(self) -> Batcher | None:
        """The running (or last) engine; None before the first."""
        return self._batcher

    @property
    def is_running(self) -> bool:
        return self._batcher is not None and not self._batcher.has_ended and is_alive(self._loop)

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
        if self.is_running:
            raise WrongEventLoopError(
                "This client is in use in another event loop: make one client for each, or wait until that loop ends."
            )
        batcher = self._new_batcher(in_background=True)
        start_in_background(
            partial(_run_to_the_end, batcher, self._at_end), name="autobatcher engine", at_end=batcher.abandon
        )
        return batcher

    def _new_batcher(self, *, in_background: bool) -> Batcher:
        if self._is_closed:
            raise ClientClosedError("The client is closed.")
        self._loop = running_loop()
        self._is_in_background = in_background
        self._batcher = self.make_batcher()
        if self._keeps_batches:
            self._batcher.keep_for_rerun()
        return self._batcher


async def _run_to_the_end(batcher: Batcher, at_end: AtEnd) -> None:
    try:
        try:
            await batcher.run()
        finally:
            if batcher.was_stopped:  # if only its event loop ended, another one may follow
                with anyio.move_on_after(AT_END_SECONDS, shield=True):
                    await at_end()
    except JournalError as error:
        logger.error("autobatcher: %s", error)  # each caller got the error, too
    except Exception:
        # Trio would turn it into TrioInternalError, asyncio into a log message at exit.
        logger.exception("autobatcher: a bug in the engine; please report it")
