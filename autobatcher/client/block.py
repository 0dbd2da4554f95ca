"""What `async with` does with an engine: who runs it, and how the block's end becomes the engine's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from ..engine.batch.batch import SHUTDOWN_SECONDS
from ..engine.hosting import AT_END_SECONDS, Host
from ..upstream.batch_api import CREATE_SECONDS

CLOSE_SECONDS = CREATE_SECONDS + SHUTDOWN_SECONDS + AT_END_SECONDS
"""How long leaving the block may take, all its own limits together."""


@asynccontextmanager
async def shared_block(host: Host, close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """A block around an engine that a nursery, another block or a background task runs already."""
    try:
        yield
    except BaseException as error:  # (a Cancelled, too, which says nothing of a good end)
        if not _is_good_exit(error):
            host.keep_for_rerun(batches=False)
        raise
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()


@asynccontextmanager
async def owning_block(host: Host, close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """A block that runs the engine. The body's own exception comes out as it is, in no group."""
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
                if _holds_cancellation(error):
                    raise
                failure = error  # raised below, outside the nursery, so that no group is wrapped around it
                is_well = _is_good_exit(error)
            finally:
                host.stop(well=is_well)
    except anyio.get_cancelled_exc_class():  # noqa: ASYNC103  (the body's own exception wins, and is raised below)
        if failure is None:
            raise
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # a frame in a traceback must not hold that traceback


def _is_good_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and not error.code


def _holds_cancellation(error: BaseException) -> bool:
    """Whether the nursery must see it, since there is a Cancelled inside."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(anyio.get_cancelled_exc_class()) is not None
    return isinstance(error, GeneratorExit)
