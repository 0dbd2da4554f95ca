"""The `async with` block of a client: who runs the engine, and how it ends with the block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from ..engine.batch.leaving import SHUTDOWN_SECONDS
from ..engine.hosting import AT_END_SECONDS, Host
from ..upstream.batch_api import CREATE_SECONDS

CLOSE_SECONDS = CREATE_SECONDS + SHUTDOWN_SECONDS + AT_END_SECONDS
"""Upper bound in seconds for leaving the block: the sum of the limits of all steps."""


@asynccontextmanager
async def shared_block(host: Host, close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """A block around an engine that already runs: in a nursery, another block or a background task."""
    try:
        yield
    except BaseException as error:  # includes Cancelled, which does not mean success
        host.note_failure(error)
        if not _is_good_exit(error):
            host.keep_for_rerun(batches=False)
        raise
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()


@asynccontextmanager
async def owning_block(host: Host, close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """A block that runs the engine. An exception of the body is raised unwrapped, in no group."""
    failure: BaseException | None = None
    is_well = False
    try:
        async with anyio.create_task_group() as nursery:
            try:
                await nursery.start(host.run)
                yield
                is_well = True
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: ASYNC103  (raised again below)
                host.note_failure(error)
                if _holds_cancellation(error):
                    raise
                failure = error  # raised below, outside the nursery, which would wrap it in a group
                is_well = _is_good_exit(error)
            finally:
                host.stop(well=is_well)
    except anyio.get_cancelled_exc_class():  # noqa: ASYNC103  (the body's exception takes precedence and is raised below)
        if failure is None:
            raise
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # breaks the cycle of frame and traceback


def _is_good_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and not error.code


def _holds_cancellation(error: BaseException) -> bool:
    """Whether the nursery must see it, because it contains a Cancelled."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(anyio.get_cancelled_exc_class()) is not None
    return isinstance(error, GeneratorExit)
