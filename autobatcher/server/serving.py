"""`serve`: client, app and worker together, from start-up to the last goodbye."""

from __future__ import annotations

import gc
import resource
import socket
from functools import partial
from typing import Any

import trio

from ..client.openai import BatchOpenAI
from .worker import make_config, run_worker

YOUNG_OBJECTS, MIDDLE_COLLECTIONS, OLD_COLLECTIONS = 50_000, 20, 100
"""Thresholds of the garbage collector: thousands of waiting requests are long-lived objects, and each full collection
walks all of them (seen: 2.2 s at 10,000). So full collections are rare, and what start-up made is exempt."""


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
    or left alone, as the client was told; all of that within `engine.batch.GOODBYE_SECONDS`.

    Cancelled: connections are cut, and batches still get their goodbye.
    """
    raise_file_limit()
    calm_garbage_collection()
    async with client, trio.open_nursery() as nursery:
        await nursery.start(partial(run_worker, app, make_config(), sockets, stop=stop.wait))
        task_status.started()
        await stop.wait()
        await client.close()


def raise_file_limit() -> None:
    """As many open connections as the system allows: each waiting HTTP/1.1 request holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def calm_garbage_collection() -> None:
    """Keep full collections rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_COLLECTIONS, OLD_COLLECTIONS)
