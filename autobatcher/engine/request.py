"""One caller's request, until its one outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, NoReturn, Protocol

import anyio
import msgspec

from ..errors import BatchError, ClientClosedError, forget_frames
from ..money.budget import Reservation
from ..upstream.account import Account
from ..upstream.jsonl import most_line_bytes
from ..upstream.patience import Patience
from .bisection import Bisection
from .event_loop import new_waiter, wake
from .failure import Failure
from .fair_limiter import FairLimiter
from .held_key import HeldKey
from .lanes.lane import Lane, Overrun
from .lanes.terms import ANYWHERE, ORDINARY, Placement, Terms
from .request_observers import CallTrace, FailureLog
from .tally import Tally
from .watched import Watched


class Answer(msgspec.Struct, frozen=True):
    """The upstream's response to one request, whatever its status (2xx, 4xx, 5xx).

    Attributes:
        status_code: the HTTP status.
        body: JSON, exactly as the upstream sent it.
        request_id: the upstream's id of this request, if it gave one.
        batch_id: the upstream batch; "" on another lane.
        custom_id: the line in that batch; "" on another lane.
        lane: how the answer was got: "batch", "flex" or "realtime", as the upstream billed it.
    """

    status_code: int
    body: bytes
    request_id: str | None
    batch_id: str
    custom_id: str
    lane: str = Lane.BATCH.value

    def __repr__(self) -> str:
        """The body may quote a prompt."""
        return f"Answer({self.status_code}, {len(self.body)} bytes, {self.batch_id!r}, {self.custom_id!r})"


class Holder(Protocol):
    """What a request waits in: first a window, later a batch."""

    @property
    def batch_id(self) -> str | None:
        """The upstream batch that the request waits in, if any."""

    def withdraw(self, request: Request) -> None:
        """The caller left. Synchronous, so that it can run during cancellation."""


class Request(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """One call that waits for its answer. Make it inside an event loop.

    The garbage collector does not look at requests, since fifty thousand of them wait at a time. So a request that is
    settled or withdrawn must be in no reference cycle: it would stay for ever, with all that it refers to. While it
    waits, it is in three: with its holder, with `watched`, and with the task that waits, through `_waiter`. All end
    when it is settled or withdrawn, and a task that is cancelled or closed withdraws it. An event loop that is thrown
    away with tasks that wait leaves their requests behind.

    Args:
        account: the upstream and its credentials.
        endpoint: such as "/v1/chat/completions".
        body: the call's body: a JSON object, in bytes.
        model: the body's model. Some providers do not mix models in one batch.
        embedding_inputs: the number of inputs of an embeddings call; 0 for other calls.
        max_retries: how many more batches the request may go into after retryable errors, at first.
        deadline: by when its caller needs the answer, on the event loop's clock; None for what the settings say.
        digested: what its digests are made of; the body if empty. A form stands for a large body.

    Attributes:
        retries_left: how many of them are left.
        terms: by when its caller needs the answer, and what it may cost; set when it is submitted.
        placement: how it goes into a batch, if its terms say more than that it may.
        size: an upper bound of the size of its line in an input file, in bytes.
        is_retry: whether its caller says that it asks again: an equal request may wait whose caller is gone.
        key: its caller's idempotency key, with what tells callers apart; None without one. Engines that share a journal
            take requests with one key for one request.
        held_key: the key, while this request has it.
        left_batch_id: the batch that the request was in when its caller left.
        reservation: what it may cost, while that counts against a budget.
        may_have_been_billed: whether it may have been executed outside of a batch that is known to exist.
        was_repeated: whether it was sent again although it may have been executed: once is enough.
        requeue_count: how often it was requeued because other lines of its batch were rejected.
        bisection: the search for a bad line that it takes part in; None if its batch was not refused.
        throttle_patience: how much longer it may wait for capacity upstream; None if it never had to.
        on_undelivered: called by `give_back`; None if no journal stores answers.
        tally: counts what becomes of it; None until it is queued.
        trace: is told what becomes of it; None if tracing is off.
        tries: in how many batches and calls it was.
        lane: on which it was tried last.
        failures: who tells if it fails outside of a batch; None until it is queued.
        failure: what it failed for; None if it did not.
        watched: stands for it where its deadline is seen to; None if it has none.
    """

    account: Account
    endpoint: str
    body: bytes
    model: str
    embedding_inputs: int = 0
    max_retries: int = 0
    deadline: float | None = None
    digested: bytes = b""
    retries_left: int = 0
    terms: Terms = ORDINARY
    placement: Placement = ANYWHERE
    size: int = 0
    custom_id: str = ""
    holder: Holder | None = None
    is_retry: bool = False
    key: bytes | None = None
    held_key: HeldKey | None = None
    left_batch_id: str | None = None
    reservation: Reservation | None = None
    may_have_been_billed: bool = False
    was_repeated: bool = False
    requeue_count: int = 0
    bisection: Bisection | None = None
    throttle_patience: Patience | None = None
    on_undelivered: Callable[[Request], None] | None = None
    tally: Tally | None = None
    trace: CallTrace | None = None
    tries: int = 0
    lane: str = Lane.BATCH.value
    failures: FailureLog | None = None
    failure: Failure | None = None
    watched: Watched[Request] | None = None
    _byte_limiter: FairLimiter | None = None
    _on_outcome: Callable[[], None] | None = None
    _outcome: Answer | BatchError | None = None
    _waiter: Any = None

    def __post_init__(self) -> None:
        self.size = most_line_bytes(self.account.provider.line_url(self.endpoint), self.body)
        self.retries_left = self.max_retries
        self.digested = self.digested or self.body
        if self.deadline is not None:
            self.terms = ORDINARY._replace(deadline=self.deadline)

    def __repr__(self) -> str:
        """The body may quote a prompt."""
        return f"Request({self.endpoint!r}, {len(self.body)} bytes, {self.custom_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Request cannot be pickled: it belongs to an event loop, and holds a key and a prompt")

    def count_in(self, tally: Tally) -> None:
        """Let `tally` count the request, and what becomes of it."""
        self.tally = tally
        tally.requests += 1

    @property
    def may_pay_twice(self) -> bool:
        """Whether it may be sent again although it may have been executed."""
        return self.terms.overrun is Overrun.PAY_TWICE and not self.was_repeated

    async def enqueue(self, byte_limiter: FairLimiter) -> bool:
        """Wait until `byte_limiter` admits the request; False if its deadline passed first. Cancelled: it was not
        admitted."""
        with anyio.CancelScope(deadline=self.terms.given_up_at):
            await byte_limiter.acquire(self.account, len(self.body))
            self._byte_limiter = byte_limiter
        return self._byte_limiter is not None

    def enqueue_nowait(self, byte_limiter: FairLimiter) -> None:
        """Like `enqueue`, but raise `anyio.WouldBlock` instead of waiting."""
        byte_limiter.acquire_nowait(self.account, len(self.body))
        self._byte_limiter = byte_limiter

    def dequeue(self) -> None:
        """Release the byte limiter: the request was uploaded, or is gone. Can be called again."""
        if self._byte_limiter is not None:
            self._byte_limiter.release(self.account, len(self.body))
            self._byte_limiter = None

    def settle(
        self, outcome: Answer | BatchError, failures: FailureLog | None = None, reason: str | None = None
    ) -> None:
        """Set the one outcome and wake the caller. A second outcome is a bug.

        Args:
            failures: who tells if it failed; None for `failures`.
            reason: why its whole batch failed, in words that may be shown.
        """
        if self._outcome is not None:
            raise AssertionError(f"{self.custom_id} was settled twice")
        if isinstance(outcome, BatchError):
            forget_frames(outcome)
        self._outcome = outcome
        self.holder = None
        if self.watched is not None:
            self.watched.request = None
        self.dequeue()
        self._release_reservation()
        if self.held_key is not None:
            self._let_key_go(is_used_up=isinstance(outcome, Answer) and outcome.status_code < 400)
        if self.tally is not None:
            self._count_outcome(self.tally, outcome, failures or self.failures, reason)
        if self.trace is not None:
            self.trace.end(self)
        if self._waiter is not None:
            wake(self._waiter)
        on_outcome, self._on_outcome = self._on_outcome, None  # it may refer to this request: leave no cycle
        if on_outcome is not None:
            on_outcome()

    def _count_outcome(
        self, tally: Tally, outcome: Answer | BatchError, failures: FailureLog | None, reason: str | None
    ) -> None:
        if isinstance(outcome, Answer) and outcome.status_code < 400:
            tally.settle(outcome.lane)
        elif isinstance(outcome, ClientClosedError):
            tally.withdraw()
        else:
            tally.settle(None)
            if failures is not None:
                failures.add(self, outcome, reason)

    def sent(self, lane: Lane) -> None:
        """It goes into a batch, or a call is made for it."""
        self.tries += 1
        self.lane = lane.value

    async def outcome(self) -> Answer | BatchError:
        """Wait for the outcome and return it. See `result`, which raises errors.

        Cancelled: the request is withdrawn. In a window, it is never sent; in a batch, its answer is dropped.
        """
        try:
            if self._outcome is None:
                await self.wait()
        except BaseException:
            self.withdraw()
            raise
        return self.settled_as

    def wait(self) -> Awaitable[object]:
        """Return an awaitable that lasts until there is an outcome. Await it at once, and only once. There must be no
        outcome yet.

        This is `outcome` without a coroutine of its own, for fifty thousand waiters. If the await raises, call
        `withdraw`.

        Raises:
            RuntimeError: if another task already waits.
        """
        if self._waiter is not None:
            raise RuntimeError("another task is already waiting for this request")
        self._waiter, waiting = new_waiter()
        return waiting

    def notify(self, on_outcome: Callable[[], None]) -> None:
        """Call `on_outcome` when there is an outcome; now, if there is one. Replaces an earlier callback."""
        if self.is_settled:
            on_outcome()
        else:
            self._on_outcome = on_outcome

    @property
    def is_queued(self) -> bool:
        """Whether it was queued, now or earlier."""
        return self.tally is not None

    @property
    def is_settled(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome is not None

    @property
    def settled_as(self) -> Answer | BatchError:
        """The outcome. There must be one. An error is a copy: once it is raised, its traceback leads to its caller, and
        so back to this request."""
        assert self._outcome is not None
        return copy(self._outcome) if isinstance(self._outcome, BatchError) else self._outcome

    def result(self) -> Answer:
        """Return the answer, or raise the error. There must be an outcome."""
        outcome = self.settled_as
        if isinstance(outcome, BatchError):
            raise outcome
        return outcome

    def withdraw(self) -> None:
        """Give up the request, even if it has an outcome. Synchronous; can be called again."""
        self._on_outcome = None  # as in `settle`
        if self.watched is not None:
            self.watched.request = None
        if self.holder is None:
            self.give_back()
            return
        self._leave(self.holder)
        self.dequeue()
        self._release_reservation()
        self._let_key_go()
        if self.tally is not None:
            self.tally.withdraw()
        if self.trace is not None:
            self.trace.end(self)

    def give_up(self, error_for: ErrorFor) -> None:
        """Take the request out of what it waits in, and settle it with an error; nothing if its caller has left."""
        if self.holder is not None:
            self._leave(self.holder)
            self.settle(error_for(self, self.left_batch_id))

    def _leave(self, holder: Holder) -> None:
        self.left_batch_id = holder.batch_id
        holder.withdraw(self)
        self.holder = None

    def pop_reservation(self) -> Reservation | None:
        """Take the reservation out: somebody else sees to it."""
        reservation, self.reservation = self.reservation, None
        return reservation

    def _release_reservation(self) -> None:
        if self.reservation is not None:
            self.reservation.release()

    def _let_key_go(self, *, is_used_up: bool = False) -> None:
        held_key, self.held_key = self.held_key, None
        if held_key is not None:
            held_key.let_go(is_used_up=is_used_up)

    def give_back(self) -> bool:
        """Mark the outcome as undelivered. True if a journal keeps it for the next identical request."""
        on_undelivered, self.on_undelivered = self.on_undelivered, None
        if on_undelivered is None:
            return False
        on_undelivered(self)
        return True


ErrorFor = Callable[[Request, str | None], BatchError]
"""Makes the error for one request of a batch (None before the batch exists). Each caller gets its own instance: a
raised exception collects tracebacks and must not be shared."""
