"""`serve`: client, app and worker together, from start-up to shutdown."""

from __future__ import annotations

import gc
import socket
import sys
from functools import partial
from typing import Any

import trio

from ..client.openai import BatchOpenAI
from .drain import Drain
from .file_limit import raise_file_limit, room_for_clients
from .hypercorn.connection import EndingContext
from .hypercorn.worker import make_config, run_worker

YOUNG_OBJECTS = 50_000
"""The threshold of the youngest generation; a collection takes 10 to 20 ms. Older generations are not collected
automatically: thousands of waiting requests are a million objects, and a full collection took 0.5 s."""

NEVER = 10**9

LOOK_SECONDS = 5.0
"""Interval between checks whether to collect older objects."""

FEW_BLOCKS = 150_000
"""Memory blocks beyond those at start: with fewer, a full collection takes less than 50 ms. A request has 200."""

MOST_COLLECTIONS = 200
"""Young collections, some ten million objects, after which a full one runs whatever it costs. Neither requests nor
connections leave reference cycles, so this only catches what we overlooked."""


async def serve(
    client: BatchOpenAI,
    app: Any,
    sockets: list[socket.socket],
    *,
    stop: trio.Event,
    drain: Drain | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` (see `create_app`) with `client` open around it, until `stop` is set.

    After `stop` calls are waited for as `drain` says. Then the shutdown takes at most `SHUTDOWN_SECONDS`, after up to
    `CREATE_SECONDS` if a batch is being created: the proxy stops accepting connections, answers waiting requests with
    a 503, and cancels active batches upstream or leaves them running, as the client is configured.

    Cancelled: connections are cut. Batches are still cancelled upstream or left running, as configured.
    """
    room = room_for_clients(raise_file_limit())
    drain, closing = drain or Drain(), trio.Event()
    calm_garbage_collection()
    async with client, trio.open_nursery() as nursery:
        client.resume_earlier()
        config = make_config()
        context = EndingContext(config.keep_alive_timeout, room.connections)
        await nursery.start(partial(run_worker, app.asgi_app, config, sockets, stop=closing.wait, context=context))
        nursery.start_soon(collect_garbage, closing)
        task_status.started()
        await stop.wait()
        context.keeps_alive = False
        await drain.run(client)
        closing.set()
        await client.close()


def calm_garbage_collection() -> None:
    """Collect young objects only, and never those made at start-up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, NEVER, NEVER)


async def collect_garbage(stop: trio.Event) -> None:
    """Collect older objects while there are few, until `stop` is set."""
    at_start = sys.getallocatedblocks()
    while not stop.is_set():
        with trio.move_on_after(LOOK_SECONDS):
            await stop.wait()
        survived = gc.get_count()[1]
        if survived >= MOST_COLLECTIONS or (survived and sys.getallocatedblocks() - at_start < FEW_BLOCKS):
            gc.collect()
