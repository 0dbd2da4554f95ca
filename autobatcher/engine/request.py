"""One caller's request on its way to exactly one outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ..errors import BatchError
from ..upstream.account import Account
from ..upstream.jsonl import most_line_bytes
from ..upstream.patience import Patience
from .byte_limiter import ByteLimiter
from .event_loop import new_waiter, wake


class Answer(msgspec.Struct, frozen=True):
    """What the upstream answered to one request, well (2xx) or badly (4xx, 5xx).

    Attributes:
        body: JSON, as the upstream wrote it.
        request_id: the upstream's id of this very call, if it gave one.
    """

    status_code: int
    body: bytes
    request_id: str | None
    batch_id: str
    custom_id: str


class Holder(Protocol):
    """Where a request waits: a window first, a batch later."""

    @property
    def batch_id(self) -> str | None:
        """The upstream batch that it waits in, if it does."""

    def withdraw(self, request: Request) -> None:
        """The caller is gone. Synchronous, so that it can run while the caller is being cancelled."""


class Request:
    """One call that waits for its answer.

    Args:
        endpoint: such as "/v1/chat/completions".
        body: the call's body, a JSON object as bytes.
        model: what the body says of it; decides with whom the request may travel.
        embedding_inputs: how many inputs an embeddings call has; 0 for any other call.
        max_retries: how many more batches the request may travel in after one that failed it in passing.

    Attributes:
        size: an upper bound of what the request adds to an input file, in bytes.
        left_batch_id: the batch that its caller left.
        requeue_count: how often it was put back because other lines of its batch were refused.
        throttle_patience: the patience of a request that was sent back for want of room upstream; None if it was not.
        on_undelivered: what `give_back` does; None where no journal keeps answers.
    """

    __slots__ = (
        "_byte_limiter",
        "_on_outcome",
        "_outcome",
        "_waiter",
        "account",
        "body",
        "custom_id",
        "embedding_inputs",
        "endpoint",
        "holder",
        "left_batch_id",
        "model",
        "on_undelivered",
        "requeue_count",
        "retries_left",
        "size",
        "throttle_patience",
    )

    def __init__(
        self,
        *,
        account: Account,
        endpoint: str,
        body: bytes,
        model: str,
        embedding_inputs: int = 0,
        max_retries: int = 0,
    ) -> None:
        self.account: Account = account
        self.endpoint: str = endpoint
        self.body: bytes = body
        self.size: int = most_line_bytes(endpoint, body)
        self.model: str = model
        self.embedding_inputs: int = embedding_inputs
        self.retries_left: int = max_retries
        self.custom_id: str = ""
        self.holder: Holder | None = None
        self.left_batch_id: str | None = None
        self.requeue_count: int = 0
        self.throttle_patience: Patience | None = None
        self.on_undelivered: Callable[[Request], None] | None = None
        self._byte_limiter: ByteLimiter | None = None
        self._on_outcome: Callable[[], None] | None = None
        self._outcome: Answer | BatchError | None = None
        self._waiter: Any = None

    async def enqueue(self, byte_limiter: ByteLimiter) -> None:
        """Wait until `byte_limiter` lets the request into the queue. Cancelled: it is not in there."""
        await byte_limiter.acquire(len(self.body))
        self._byte_limiter = byte_limiter

    def enqueue_nowait(self, byte_limiter: ByteLimiter) -> None:
        """The same without waiting. Raises `anyio.WouldBlock`."""
        byte_limiter.acquire_nowait(len(self.body))
        self._byte_limiter = byte_limiter

    def dequeue(self) -> None:
        """The request is uploaded, or gone: it takes up no room in the queue any more. Can be called again."""
        if self._byte_limiter is not None:
            self._byte_limiter.release(len(self.body))
            self._byte_limiter = None

    def settle(self, outcome: Answer | BatchError) -> None:
        """Give the request its one outcome and wake its caller. A second outcome is a defect of ours."""
        if self._outcome is not None:
            raise AssertionError(f"{self.custom_id} was settled twice")
        self._outcome = outcome
        self.holder = None
        self.dequeue()
        if self._waiter is not None:
            wake(self._waiter)
        if self._on_outcome is not None:
            self._on_outcome()

    async def outcome(self) -> Answer | BatchError:
        """Wait for the outcome and return it; see `result`, which raises it if it is an error.

        Cancelled: the request is withdrawn. In a window it is never sent; in a batch its answer is dropped.
        """
        try:
            if self._outcome is None:
                await self.wait()
        except BaseException:
            self.withdraw()
            raise
        return self.settled_as

    def wait(self) -> Awaitable[object]:
        """What to await, at once and once, until there is an outcome; if that raises, call `withdraw`.

        This is `outcome` without a coroutine of its own, for where fifty thousand wait. There must be no outcome yet.

        Raises:
            RuntimeError: if somebody waits already; each would think the answer theirs.
        """
        if self._waiter is not None:
            raise RuntimeError("somebody waits for this request already")
        self._waiter, waiting = new_waiter()
        return waiting

    def notify(self, on_outcome: Callable[[], None]) -> None:
        """Have `on_outcome` called when there is an outcome; now, if there is one. The last one given counts."""
        self._on_outcome = on_outcome
        if self.is_settled:
            on_outcome()

    @property
    def is_settled(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome is not None

    @property
    def settled_as(self) -> Answer | BatchError:
        """The outcome. There must be one."""
        assert self._outcome is not None
        return self._outcome

    def result(self) -> Answer:
        """The outcome, returned or raised. There must be one."""
        outcome = self.settled_as
        if isinstance(outcome, BatchError):
            raise outcome
        return outcome

    def withdraw(self) -> None:
        """Nobody wants an answer any more, not even one that is there. Synchronous; can be called again."""
        if self.holder is None:
            self.give_back()
            return
        self.left_batch_id = self.holder.batch_id
        self.holder.withdraw(self)
        self.holder = None
        self.dequeue()

    def give_back(self) -> bool:
        """The outcome did not reach whoever asked. True if a journal has it, for the next who asks the same."""
        on_undelivered, self.on_undelivered = self.on_undelivered, None
        if on_undelivered is None:
            return False
        on_undelivered(self)
        return True


ErrorFor = Callable[[Request, str | None], BatchError]
"""Makes the error of one request in the batch of that id (None before there is one). Each caller gets an instance of
its own: a raised exception collects tracebacks and must not be shared."""
