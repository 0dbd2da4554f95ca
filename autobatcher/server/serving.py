"""`serve`: client, app and worker together, from start-up to shutdown."""

from __future__ import annotations

import gc
import socket
import sys
from functools import partial
from typing import Any

import trio

from ..client.openai import BatchOpenAI
from .file_limit import raise_file_limit
from .hypercorn.worker import make_config, run_worker

YOUNG_OBJECTS = 50_000
"""How many new objects the garbage collector looks at by itself, which takes it 10 to 20 ms. Never at older ones:
thousands of requests that wait for hours are a million of them, and a walk through all of those took 0.5 s."""

NEVER = 10**9

LOOK_SECONDS = 5.0
"""How often we look whether there is time for older objects."""

FEW_BLOCKS = 150_000
"""Of memory, more than at the start: a walk through as many takes less than 50 ms. (A request that waits has 200.)"""

MOST_COLLECTIONS = 200
"""Of new objects, after which older ones are looked at even while there are many: ten million objects, which hardly
any are garbage of, since neither requests nor connections leave circles behind. So this is for what we overlooked."""


async def serve(
    client: BatchOpenAI,
    app: Any,
    sockets: list[socket.socket],
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` (see `create_app`) and run `client` around it, until `stop` is set.

    Then nothing more is accepted; requests that wait are answered with a 503; active batches are cancelled upstream
    or left alone, as the client was told; all of that within `engine.batch.SHUTDOWN_SECONDS`.

    Cancelled: connections are cut; batches are still cancelled upstream or left alone, as above.
    """
    raise_file_limit()
    calm_garbage_collection()
    async with client, trio.open_nursery() as nursery:
        await nursery.start(partial(run_worker, app, make_config(), sockets, stop=stop.wait))
        nursery.start_soon(collect_garbage, stop)
        task_status.started()
        await stop.wait()
        await client.close()


def calm_garbage_collection() -> None:
    """Let only new objects be looked at, and what start-up made never."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, NEVER, NEVER)


async def collect_garbage(stop: trio.Event) -> None:
    """Look at older objects when there are few, until `stop` is set."""
    at_start = sys.getallocatedblocks()
    while not stop.is_set():
        with trio.move_on_after(LOOK_SECONDS):
            await stop.wait()
        survived = gc.get_count()[1]
        if survived >= MOST_COLLECTIONS or (survived and sys.getallocatedblocks() - at_start < FEW_BLOCKS):
            gc.collect()
