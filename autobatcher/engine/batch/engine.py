"""What a batch needs of the engine that it lives in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from ...upstream.batch_api import BatchAPI
from ..emitter import Emit
from ..queue.queue import RequestQueue
from ..request import Request
from ..settings import Settings
from .phase import Ending

if TYPE_CHECKING:
    from .batch import Batch


class Engine(Protocol):
    """See `Batcher`, which is one."""

    api: BatchAPI
    emit: Emit
    settings: Settings
    queue: RequestQueue
    uploads: anyio.CapacityLimiter
    polls: anyio.CapacityLimiter

    @property
    def batch_count(self) -> int:
        """How many batches are polled."""

    @property
    def ending(self) -> Ending:
        """How the engine ends, as far as that is known."""

    def resubmit(self, request: Request) -> bool:
        """Take a request whose failure is retryable into a later batch; False if its tries are used up."""

    def release(self, batch: Batch) -> None:
        """A batch needs no place among the active ones any more."""
