"""Calls of the proxy without an answer, or whose client disconnected before it got one.

A batch takes longer than many clients wait. A client that disconnects and sends the same request again is reattached to
its pending call: to the running batch, or to the stored answer. Only a call without a client can be reattached to, so
identical requests from different clients are never merged. Requests with the same idempotency key are one request:
their clients share a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from functools import partial

import anyio
from anyio.abc import TaskStatus

from ..engine.request import Answer, Request
from ..engine.shares import Shares
from .body_limiter import HeldBody
from .equal_calls import EqualCalls
from .expirations import Expirations
from .pending_call import Client, PendingCall
from .sent_answers import SentAnswers

GRACE_SECONDS = 300.0
"""How long a call is kept after its client disconnected. Retries arrive within seconds or a few minutes."""

FOR_GOOD = 1e9
"""A grace that no process lives to see the end of. Finite, since the journal keeps answers of calls that expire."""

CUT_OFF_SECONDS = 60.0
"""The least grace period after a response was cut off: the client's retry gets the stored error after its back-off."""

READ_SECONDS = 2.0
"""A call is withdrawn only after the event loop ran for this long: after a pause of the process, retries that wait in
the sockets are read first."""

LATE_SECONDS = 0.5
"""A timer that fires this late means that the process was paused, or too busy to read its sockets."""

SENT_BYTES = 100_000_000
"""Thousands of calls."""

ANSWERED_AT_ONCE = 50
"""Clients resumed in one pass of the event loop. The answers of a batch arrive together, and each takes 0.2 ms to
send."""


class PendingCalls:
    """All pending calls of a proxy.

    Args:
        grace_seconds: how long a call without a client is kept.
        most: maximum number of pending calls.
        isolates: whether callers are strangers to each other, who leave places for others; see `Shares`.
        most_sent_bytes: maximum size of the calls whose answers were sent and may not have been read.

    Attributes:
        equal: the calls without an idempotency key, by digest.
    """

    def __init__(
        self,
        *,
        grace_seconds: float = GRACE_SECONDS,
        most: int,
        isolates: bool = False,
        most_sent_bytes: int = SENT_BYTES,
    ) -> None:
        self.equal: EqualCalls = EqualCalls()
        self._sent = SentAnswers(most_sent_bytes)
        self._grace_seconds = grace_seconds
        self._places = Shares(most, isolates=isolates)
        self._unanswered: dict[PendingCall, None] = {}  # the oldest first
        self._keyed: dict[tuple[str, ...], PendingCall] = {}
        self._expirations = Expirations()
        self._has_expirations = anyio.Event()
        self._to_answer: deque[PendingCall] = deque()
        self._has_answers = anyio.Event()
        self._is_running = False  # a server without lifespan support does not call `run`

    def __len__(self) -> int:
        return self._places.used

    @property
    def most(self) -> float:
        """How many there may be."""
        return self._places.limit

    def calls(self) -> list[PendingCall]:
        """A copy of all of them."""
        return [*self.equal, *self._keyed.values()]

    def has_room(self, account: Hashable = None) -> bool:
        """Whether another call may become pending. Gives up the oldest answer that no client has claimed if needed."""
        if not self._places.has_room() and (oldest := self._expirations.oldest_answered) is not None:
            self._give_up(oldest)
        return self._places.fits(account)

    def give_up_delivered(self) -> bool:
        """Give up the oldest answer that a client has got, and that is kept for a retry. False if there is none."""
        oldest = self._expirations.oldest_delivered
        if oldest is not None:
            self._give_up(oldest)
        return oldest is not None

    @property
    def lasting_count(self) -> int:
        """Number of calls that give their places to no other one, as an answer does that no client waits for."""
        return len(self) - self._expirations.answered_count

    @property
    def detached_count(self) -> int:
        """Number of calls without a client."""
        return len(self._expirations)

    @property
    def unclaimed_count(self) -> int:
        """Number of calls without a client whose answers nobody has got."""
        return self.equal.free_count + sum(not (call.clients or call.was_delivered) for call in self._keyed.values())

    def add(
        self,
        request: Request,
        digest: bytes,
        client: Client,
        key: tuple[str, ...] | None = None,
        held: HeldBody | None = None,
        account: Hashable = None,
    ) -> PendingCall:
        """Add a call of that account for a request that was submitted to the engine."""
        call = PendingCall(request, digest, key, held, account)
        call.attach(client)
        self._places.take(call.account)
        self._unanswered[call] = None
        if key is None:
            self.equal.add(call)
        else:
            self._keyed[key] = call
        return call

    def detach(self, call: PendingCall, client: Client, *, was_cut_off: bool = False) -> None:
        """The client is gone. A waiting retry takes its call over; else keep the call for the grace period."""
        call.clients.remove(client)
        if not call.clients:
            self._keep(call, was_cut_off=was_cut_off)

    def _keep(self, call: PendingCall, *, was_cut_off: bool) -> None:
        if call.key is None and self._hand_over(call):
            return
        if call.request.give_back():  # the journal keeps the answer, for longer than the grace period
            self._forget(call)
            return
        if call.key is None:
            self.equal.free(call)
        self._expire(call, max(self._grace_seconds, CUT_OFF_SECONDS) if was_cut_off else self._grace_seconds)

    def _hand_over(self, call: PendingCall) -> bool:
        successor = self.equal.next_waiting(call.digest)
        if successor is None:
            return False
        call.attach(successor)
        successor.resume()
        return True

    def _expire(self, call: PendingCall, seconds: float) -> None:
        """Withdraw the call after so many seconds, of which the last ones begin once a timer has fired."""
        last = min(READ_SECONDS, seconds / 2)
        self._push(call, anyio.current_time() + seconds - last, last)

    def _push(self, call: PendingCall, moment: float, seconds_left: float) -> None:
        self._expirations.add(call, moment, seconds_left)
        self._has_expirations.set()

    def reattach(self, digest: bytes, client: Client) -> PendingCall | None:
        """Give a retry the call of its disconnected client; None if there is none."""
        call = self.equal.take_free(digest)
        if call is not None:
            self._expirations.discard(call)
            call.attach(client)
        return call

    def join(self, key: tuple[str, ...], client: Client) -> PendingCall | None:
        """The call with this idempotency key, with a further client; None if there is none."""
        call = self._keyed.get(key)
        if call is not None:
            self._expirations.discard(call)
            call.attach(client)
        return call

    def with_key(self, key: tuple[str, ...]) -> PendingCall | None:
        """The call with this idempotency key; None if there is none."""
        return self._keyed.get(key)

    def oldest_seconds(self, is_meant: Callable[[Request], bool] = lambda _: True) -> float:
        """How long the oldest request waits for which `is_meant`; 0 if there is none."""
        oldest = next((call for call in self._unanswered if is_meant(call.request)), None)
        return 0.0 if oldest is None else anyio.current_time() - oldest.created_at

    def finish(self, call: PendingCall, client: Client) -> None:
        """The answer was sent. With an idempotency key, a good one is kept for the grace period."""
        call.clients.remove(client)
        if call.clients:
            return
        call.was_delivered = True
        if call.key is not None and _has_succeeded(call.request):
            self._expire(call, self._grace_seconds)
            return
        self._forget(call)
        if call.key is None and client.has_own_connection and client.peer.on_unread(partial(self._on_unread, call)):
            self.equal.deliver(call, client)
            self._sent.add(call, client)

    def _on_unread(self, call: PendingCall, was_unread: bool) -> None:
        """The client closed its connection without reading the answer: it gave up, and may come back."""
        self.equal.forget_delivery(call)
        self._sent.discard(call)
        if was_unread:
            self._places.take(call.account)
            self.equal.add(call)
            self._keep(call, was_cut_off=False)

    def keep_all(self) -> None:
        """Withdraw no call from now on: its answer is wanted even if no client comes back for it."""
        self._grace_seconds = FOR_GOOD
        self._expirations.keep_all()

    def on_outcome(self, call: PendingCall) -> None:
        """The request has an outcome: answer its clients, in turn."""
        self._expirations.answered(call)
        if call in self._expirations and call.request.give_back():
            self._forget(call)
        elif self._is_running:
            self._to_answer.append(call)
            self._has_answers.set()
        else:
            call.resume()
        self._unanswered.pop(call, None)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer clients, and withdraw expired calls, until cancelled."""
        self._is_running = True
        try:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(self._answer_in_turn)
                nursery.start_soon(self._give_up_in_time)
                task_status.started()
        finally:
            self._is_running = False
            for call in self._to_answer:
                call.resume()

    async def _answer_in_turn(self) -> None:
        while True:
            await self._has_answers.wait()  # always a checkpoint, so that other tasks run
            for _ in range(min(ANSWERED_AT_ONCE, len(self._to_answer))):
                await self._answer(self._to_answer.popleft())
            if not self._to_answer:
                self._has_answers = anyio.Event()

    async def _answer(self, call: PendingCall) -> None:
        """Answer its clients, or wake them."""
        for client in tuple(call.clients):
            if client.wait is None:
                client.resume()
            elif await client.wait.answer():
                self.finish(call, client)

    async def _give_up_in_time(self) -> None:
        while True:
            self._has_expirations = anyio.Event()
            with anyio.CancelScope(deadline=self._expirations.next_moment):
                await self._has_expirations.wait()
            self._give_up_until(anyio.current_time())

    def _give_up_until(self, now: float) -> None:
        for moment, _, seconds_left, call in self._expirations.due(now):
            if now - moment > LATE_SECONDS:
                self._push(call, now + READ_SECONDS, 0.0)
            elif seconds_left > 0.0:
                self._push(call, now + seconds_left, 0.0)
            else:
                self._give_up(call)

    def _give_up(self, call: PendingCall) -> None:
        self._forget(call)
        call.request.withdraw()

    def _forget(self, call: PendingCall) -> None:
        self._expirations.discard(call)
        self._places.give_back(call.account)
        if call.held is not None:
            call.held.release()
        if call.key is None:
            self.equal.discard(call)
        else:
            del self._keyed[call.key]
        self._unanswered.pop(call, None)


def _has_succeeded(request: Request) -> bool:
    outcome = request.settled_as
    return isinstance(outcome, Answer) and outcome.status_code < 400
