"""Requests of the proxy that wait, or have waited, for their answer, whether or not their client is still there.

A batch takes longer than many a client waits. A client that went away, for whatever reason, sends the same request
again: then it gets its place back, in the batch that runs or with the answer that is there. Only places that nobody
waits at can be taken, so that n equal requests of n clients stay n.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
from collections import defaultdict, deque

import anyio
import msgspec
import trio
from anyio.abc import TaskStatus

from ..engine.request import Request

GRACE_SECONDS = 300.0
"""How long a place is kept for a client that went away: those that come back do so within seconds or a few minutes."""


CUT_OFF_SECONDS = 60.0
"""At least so long for a client whose response we cut off: it comes back for the true error, after its back-off."""


WOKEN_AT_ONCE = 50
"""Between two turns of everybody else: the answers of a batch come together, and telling each takes 0.2 ms."""


class PendingCall:
    """One request in the engine, and who asked."""

    __slots__ = ("__weakref__", "_digest", "caller", "entered_at", "given_up_at", "request", "wait_scope")

    def __init__(self, request: Request, caller: str) -> None:
        self.request: Request = request
        self.caller: str = caller
        self.entered_at: float = anyio.current_time()
        self.given_up_at: float = math.inf  # infinite while somebody waits here
        self.wait_scope: trio.CancelScope | None = None  # in which whoever waits here waits
        self._digest: bytes | None = None

    def wake(self) -> None:
        """Whoever waits here goes on."""
        if self.wait_scope is not None:
            self.wait_scope.cancel()

    @property
    def digest(self) -> bytes:
        """By which the same request is recognised: endpoint, canonical body, and caller."""
        if self._digest is None:
            self._digest = digest_of(self.request.endpoint, self.request.body, self.caller)
        return self._digest


class PendingCalls:
    """All places of a proxy.

    Args:
        grace_seconds: how long a place without a client is kept.
        most: how many places there may be.
    """

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS, most: int) -> None:
        self._grace_seconds = grace_seconds
        self._most = most
        self._count = 0
        self._left: defaultdict[bytes, dict[PendingCall, None]] = defaultdict(
            dict
        )  # in the order in which they were left
        self._leavings: list[tuple[float, int, PendingCall]] = []  # a heap, by time
        self._order = itertools.count()
        self._wake = anyio.Event()
        self._to_wake: deque[PendingCall] = deque()
        self._has_answers = anyio.Event()
        self._wakes_in_turn = False  # not without `run`: there are servers that know no lifespan

    def __len__(self) -> int:
        return self._count

    def has_room(self) -> bool:
        """Whether somebody new can come in. Answers that nobody has come back for yet are given up for them."""
        if self._count >= self._most:
            kept = (entry for entry in self._leavings if entry[2].given_up_at == entry[0])
            oldest = next((place for _, _, place in kept if place.request.is_settled), None)
            if oldest is not None:
                self._give_up(oldest)
        return self._count < self._most

    @property
    def unattended(self) -> int:
        """At how many places nobody waits."""
        return sum(len(places) for places in self._left.values())

    def take_back(self, endpoint: str, body: bytes, caller: str) -> PendingCall | None:
        """The place of a client that went away and has sent the same request again; None if there is none."""
        if not self._left:
            return None
        digest = digest_of(endpoint, body, caller)
        if digest not in self._left:
            return None
        place = next(iter(self._left[digest]))
        del self._left[digest][place]
        if not self._left[digest]:
            del self._left[digest]
        place.given_up_at = math.inf
        return place

    def enter(self, request: Request, caller: str) -> PendingCall:
        """A place for a request that is in the engine by now."""
        self._count += 1
        return PendingCall(request, caller)

    def leave(self, place: PendingCall, *, was_cut_off: bool = False) -> None:
        """The client is gone, and may come back within the grace period; if we cut it off, it will."""
        if place.request.give_back():  # to a journal, which keeps it for longer than we would
            self._count -= 1
            return
        grace = max(self._grace_seconds, CUT_OFF_SECONDS) if was_cut_off else self._grace_seconds
        place.given_up_at = anyio.current_time() + grace
        self._left[place.digest][place] = None
        heapq.heappush(self._leavings, (place.given_up_at, next(self._order), place))
        self._wake.set()

    def clear(self, place: PendingCall) -> None:
        """The client has its answer."""
        self._count -= 1

    def wake(self, place: PendingCall) -> None:
        """There is an outcome. Whoever waits for it is woken, in turn."""
        if place.given_up_at < math.inf and place.request.give_back():
            self._remove(place)
        elif self._wakes_in_turn:
            self._to_wake.append(place)
            self._has_answers.set()
        else:
            place.wake()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Wake those who wait, and give up the places of clients that did not come back, until cancelled."""
        self._wakes_in_turn = True
        try:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(self._wake_in_turn)
                nursery.start_soon(self._give_up_in_time)
                task_status.started()
        finally:
            self._wakes_in_turn = False
            self._wake_some(len(self._to_wake))

    async def _wake_in_turn(self) -> None:
        while True:
            await self._has_answers.wait()  # which lets others go on, even if there are more to wake
            self._wake_some(WOKEN_AT_ONCE)
            if not self._to_wake:
                self._has_answers = anyio.Event()

    def _wake_some(self, most: int) -> None:
        for _ in range(min(most, len(self._to_wake))):
            self._to_wake.popleft().wake()

    async def _give_up_in_time(self) -> None:
        while True:
            self._wake = anyio.Event()
            self._give_up_until(anyio.current_time())
            deadline = self._leavings[0][0] if self._leavings else float("inf")
            with anyio.CancelScope(deadline=deadline):
                await self._wake.wait()

    def _give_up_until(self, now: float) -> None:
        while self._leavings and self._leavings[0][0] <= now:
            given_up_at, _, place = heapq.heappop(self._leavings)
            if place.given_up_at == given_up_at:  # or it was taken back, and perhaps left again
                self._give_up(place)

    def _give_up(self, place: PendingCall) -> None:
        self._remove(place)
        place.request.withdraw()

    def _remove(self, place: PendingCall) -> None:
        place.given_up_at = math.inf
        del self._left[place.digest][place]
        if not self._left[place.digest]:
            del self._left[place.digest]
        self._count -= 1


def digest_of(endpoint: str, body: bytes, caller: str) -> bytes:
    """Equal for equal requests of one caller, however their JSON is written."""
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(body), order="deterministic")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        canonical = body
    parts = (endpoint.encode(), caller.encode(), canonical)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).digest()
