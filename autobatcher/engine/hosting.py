"""Who runs the engine: a nursery of the caller's, or, for a client used bare, a background task of ours.

What the background task promises: it is started by the first call; nothing escapes it; it holds no reference that would
keep the client from being collected; and however the program ends, short of being killed, it gets its bounded goodbye:
both event loops cancel it and wait for it.
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
"""How long closing the upstream's connections may take: it is a matter of milliseconds, but TLS may wait for peers."""


class Host:
    """Sees to it that a `Batcher` runs whenever a request wants one, and that it ends.

    A client and its copies share one host. A batcher runs once; a host used bare starts a new one when the event
    loop of the old one is over (a second `asyncio.run`).

    Args:
        at_end: closes what the engine used; called once an engine that was told to stop has said its goodbye, by
            whoever ran it, so that it happens also when the one who called `close` was cancelled.

    Attributes:
        make_batcher: called for each engine. Tests replace it to give one another clock, or another writer.
    """

    _is_in_background = False  # also for `__del__` of one that was never made to its end, by deepcopy say

    def __init__(self, make_batcher: Callable[..., Batcher], at_end: AtEnd) -> None:
        self.make_batcher: Callable[..., Batcher] = make_batcher
        self._at_end = at_end
        self._batcher: Batcher | None = None
        self._loop: object = None  # the one that the last engine was made in
        self._is_closed = False
        self._is_well = True
        self._keeps_batches = False

    async def submit(self, request: Request) -> Answer:
        """`Batcher.submit`, with a background task to run the engine if nothing else does.

        Raises:
            ClientClosedError: after `close`, or after the nursery that ran the engine has ended.
            WrongEventLoopError: if the engine runs in another event loop.
        """
        return await self._batcher_in_running_loop().submit(request)

    def submit_nowait(self, request: Request) -> None:
        """`Batcher.submit_nowait`, in the same way; in an event loop only. Raises as `submit` does."""
        self._batcher_in_running_loop().submit_nowait(request)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on to the one that calls started())
        """Run the engine in the caller's own task, until `close` or cancellation. See `Batcher.run`.

        Raises:
            RuntimeError: if it is running already.
            ClientClosedError: if the client was closed.
            JournalError: if there is a journal that cannot be used; this can be tried again.
        """
        if self.is_running:
            raise RuntimeError("the engine of this client is running already")
        batcher = self._new_batcher(in_background=False)
        has_run = True
        try:
            await batcher.run(task_status=task_status)
        except JournalError:
            has_run = False  # it may be tried again
            raise
        finally:
            if has_run:
                self._is_closed = True
                with anyio.move_on_after(AT_END_SECONDS, shield=True):
                    await self._at_end()

    async def close(self) -> None:
        """Stop the engine and wait for its goodbye, which is bounded. Can be called again.

        Cancelled: the engine stops all the same, and closes what it used itself.
        """
        self._is_closed = True
        if self.is_running:
            assert self._batcher is not None
            self.stop()
            if self.is_in_running_loop:
                await self._batcher.wait_ended()

    def stop(self, *, well: bool = True) -> None:
        """Ask the engine to stop, from any thread. Nothing can be submitted any more. See `Batcher.stop`."""
        self._is_closed = True
        self._is_well = self._is_well and well
        if self.is_running:
            assert self._batcher is not None
            call_soon(self._loop, partial(self._batcher.stop, well=self._is_well))

    def keep_for_rerun(self, *, batches: bool = True) -> None:
        """However this ends, it is not well: see `Batcher.keep_for_rerun`. From any thread, before the engine stops.

        Args:
            batches: whether to leave them running, too, whatever the settings say.
        """
        self._is_well = False
        self._keeps_batches = self._keeps_batches or batches
        if batches and self._batcher is not None:
            self._batcher.keep_for_rerun()

    @property
    def batcher(self) -> Batcher | None:
        """The running (or last) engine, for its statistics."""
        return self._batcher

    @property
    def is_running(self) -> bool:
        return self._batcher is not None and not self._batcher.has_ended and is_alive(self._loop)

    @property
    def is_in_running_loop(self) -> bool:
        """Whether the engine belongs to the event loop that runs now."""
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
            if batcher.was_stopped:  # and not merely cancelled with its event loop: then it may be used in another
                with anyio.move_on_after(AT_END_SECONDS, shield=True):
                    await at_end()
    except JournalError as error:
        logger.error("autobatcher: %s", error)  # its callers were told, each for itself
    except Exception:
        # Trio turns what escapes a system task into TrioInternalError, asyncio into noise at exit.
        logger.exception("autobatcher: a defect escaped the engine")
