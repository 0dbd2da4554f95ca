"""Calls of an engine that has a tracer: each gets its trace once it is queued."""

from __future__ import annotations

from .batch.pending import PendingRequests
from .batcher import Batcher
from .request import Answer, Request
from .tracer import Tracer


async def submit(batcher: Batcher, tracer: Tracer, request: Request) -> Answer:
    """`Batcher.submit`, traced."""
    asked_at = tracer.now()
    try:
        await batcher.enqueue(request)
    except BaseException as error:
        tracer.refused(request, asked_at, error)
        raise
    begin(tracer, request, asked_at)
    await request.outcome()
    return request.result()


async def enqueue(batcher: Batcher, tracer: Tracer, request: Request) -> None:
    """`Batcher.enqueue`, traced. A refusal is not: it may be tried again; see `Host.tell_refusal`."""
    asked_at = tracer.now()
    await batcher.enqueue(request)
    begin(tracer, request, asked_at)


def begin(tracer: Tracer, request: Request, asked_at: int) -> None:
    """Begin the trace of a request that was queued just now."""
    tracer.begin(request, asked_at)
    if request.is_settled and request.trace is not None:
        request.trace.end(request)
    if isinstance(request.holder, PendingRequests):  # it has found its line in a batch already
        request.holder.trace.joined(request)
