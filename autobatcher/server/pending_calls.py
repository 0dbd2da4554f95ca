"""Calls of the proxy without an answer, or whose client disconnected before it got one.

A batch takes longer than many clients wait. A client that disconnects and sends the same request again is reattached to
its pending call: to the running batch, or to the stored answer. Only a call without a client can be reattached to, so
identical requests from different clients are never merged.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict, deque

import anyio
import trio
from anyio.abc import TaskStatus

from ..engine.digest import digest_of
from ..engine.request import Request

GRACE_SECONDS = 300.0
"""How long a call is kept after its client disconnected. Retries arrive within seconds or a few minutes."""

CUT_OFF_SECONDS = 60.0
"""The least grace period after a response was cut off: the client's retry gets the stored error after its back-off."""

RESUMED_AT_ONCE = 50
"""Clients resumed in one pass of the event loop. The answers of a batch arrive together, and each takes 0.2 ms to
send."""


class PendingCall:
    """One request in the engine, and the client that made it.

    Attributes:
        caller: identifies the client by its credentials.
        created_at: when the call was made, on the event loop's clock.
        expires_at: when the call is withdrawn; infinity while a client waits.
        wait_scope: the scope in which the client waits; cancelled to resume it.
    """

    __slots__ = ("__weakref__", "_digest", "caller", "created_at", "expires_at", "request", "wait_scope")

    def __init__(self, request: Request, caller: str) -> None:
        self.request: Request = request
        self.caller: str = caller
        self.created_at: float = anyio.current_time()
        self.expires_at: float = math.inf
        self.wait_scope: trio.CancelScope | None = None
        self._digest: bytes | None = None

    def resume(self) -> None:
        """Wake the waiting client, if there is one."""
        if self.wait_scope is not None:
            self.wait_scope.cancel()

    @property
    def digest(self) -> bytes:
        """Identifies the request and its caller."""
        if self._digest is None:
            self._digest = digest_of(self.request.endpoint, self.request.body, self.caller.encode())
        return self._digest


class PendingCalls:
    """All pending calls of a proxy.

    Args:
        grace_seconds: how long a call without a client is kept.
        most: maximum number of pending calls.
    """

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS, most: int) -> None:
        self._grace_seconds = grace_seconds
        self._most = most
        self._count = 0
        self._detached: defaultdict[bytes, dict[PendingCall, None]] = defaultdict(dict)  # in order of disconnects
        self._expirations: list[tuple[float, int, PendingCall]] = []  # a heap, by time
        self._order = itertools.count()
        self._has_expirations = anyio.Event()
        self._to_resume: deque[PendingCall] = deque()
        self._has_answers = anyio.Event()
        self._is_running = False  # a server without lifespan support does not call `run`

    def __len__(self) -> int:
        return self._count

    def has_room(self) -> bool:
        """Whether another call may become pending. Gives up the oldest answer that no client has claimed if needed."""
        if self._count >= self._most:
            detached = (call for expires_at, _, call in self._expirations if call.expires_at == expires_at)
            oldest = next((call for call in detached if call.request.is_settled), None)
            if oldest is not None:
                self._give_up(oldest)
        return self._count < self._most

    @property
    def detached_count(self) -> int:
        """Number of calls without a client."""
        return sum(len(calls) for calls in self._detached.values())

    def add(self, request: Request, caller: str) -> PendingCall:
        """Add a call for a request that was submitted to the engine."""
        self._count += 1
        return PendingCall(request, caller)

    def detach(self, call: PendingCall, *, was_cut_off: bool = False) -> None:
        """The client is gone. Keep the call for the grace period."""
        if call.request.give_back():  # the journal keeps the answer, for longer than the grace period
            self._count -= 1
            return
        grace = max(self._grace_seconds, CUT_OFF_SECONDS) if was_cut_off else self._grace_seconds
        call.expires_at = anyio.current_time() + grace
        self._detached[call.digest][call] = None
        heapq.heappush(self._expirations, (call.expires_at, next(self._order), call))
        self._has_expirations.set()

    def reattach(self, endpoint: str, body: bytes, caller: str) -> PendingCall | None:
        """Give a retry the call of its disconnected client; None if there is none."""
        if not self._detached:
            return None
        digest = digest_of(endpoint, body, caller.encode())
        if digest not in self._detached:
            return None
        call = next(iter(self._detached[digest]))
        self._discard_detached(call)
        return call

    def finish(self, call: PendingCall) -> None:
        """The client got its answer."""
        self._count -= 1

    def on_outcome(self, call: PendingCall) -> None:
        """The request has an outcome: resume its client, in turn."""
        if call.expires_at < math.inf and call.request.give_back():
            self._remove(call)
        elif self._is_running:
            self._to_resume.append(call)
            self._has_answers.set()
        else:
            call.resume()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Resume clients and withdraw expired calls, until cancelled."""
        self._is_running = True
        try:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(self._resume_in_turn)
                nursery.start_soon(self._give_up_in_time)
                task_status.started()
        finally:
            self._is_running = False
            self._resume_some(len(self._to_resume))

    async def _resume_in_turn(self) -> None:
        while True:
            await self._has_answers.wait()  # always a checkpoint, so that other tasks run
            self._resume_some(RESUMED_AT_ONCE)
            if not self._to_resume:
                self._has_answers = anyio.Event()

    def _resume_some(self, most: int) -> None:
        for _ in range(min(most, len(self._to_resume))):
            self._to_resume.popleft().resume()

    async def _give_up_in_time(self) -> None:
        while True:
            self._has_expirations = anyio.Event()
            self._give_up_until(anyio.current_time())
            deadline = self._expirations[0][0] if self._expirations else float("inf")
            with anyio.CancelScope(deadline=deadline):
                await self._has_expirations.wait()

    def _give_up_until(self, now: float) -> None:
        while self._expirations and self._expirations[0][0] <= now:
            expires_at, _, call = heapq.heappop(self._expirations)
            if call.expires_at == expires_at:  # else it was reattached
                self._give_up(call)

    def _give_up(self, call: PendingCall) -> None:
        self._remove(call)
        call.request.withdraw()

    def _remove(self, call: PendingCall) -> None:
        self._discard_detached(call)
        self._count -= 1

    def _discard_detached(self, call: PendingCall) -> None:
        call.expires_at = math.inf
        del self._detached[call.digest][call]
        if not self._detached[call.digest]:
            del self._detached[call.digest]
