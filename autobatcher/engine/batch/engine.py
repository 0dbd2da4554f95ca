"""What a batch needs of its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...upstream.batch_api import BatchAPI
from ..dispatch.dispatcher import Dispatcher
from ..emitter import Emit
from ..fair_limiter import FairLimiter
from ..poll_hints import PollHints
from ..queue.queue import RequestQueue
from ..request import Request
from ..settings import Settings
from ..spending import Spending
from ..tracer import Tracer
from .listing import Listings
from .phase import Ending

if TYPE_CHECKING:
    from .batch import Batch


class Engine(Protocol):
    """Implemented by `Batcher`."""

    api: BatchAPI
    emit: Emit
    settings: Settings
    queue: RequestQueue
    dispatcher: Dispatcher
    uploads: FairLimiter
    polls: FairLimiter
    listings: Listings
    hints: PollHints
    spending: Spending
    tracer: Tracer | None
    cancels_on_close: bool

    @property
    def batch_count(self) -> int:
        """How many batches are being polled."""

    @property
    def ending(self) -> Ending:
        """How the engine ends, as far as known."""

    def resubmit(self, request: Request) -> bool:
        """Add a request that failed with a retryable error to a later batch; False if it has no retries left."""

    def release(self, batch: Batch) -> None:
        """Free the batch's slot among the active ones."""
