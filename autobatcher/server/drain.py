"""The time between the first signal and the close: nothing new is taken, and what runs is waited for."""

from __future__ import annotations

import trio

from ..client.openai import BatchOpenAI
from .report import Report

LOOK_SECONDS = 0.25
"""How often a drain looks whether all is done. Lines that are tried again meanwhile leave as often."""

UNCLAIMED_SECONDS = 10.0
"""How long an answer is kept whose client went away, once all others have theirs. SDKs retry within eight seconds."""


class Drain:
    """How a proxy comes to its end.

    Args:
        report: of the proxy; the app reads there that nothing new is taken.
        seconds: how long calls are waited for at most; 0 closes at once. It can be changed until `run`.
        unclaimed_seconds: how long of these an answer is kept whose client went away.
    """

    def __init__(
        self, report: Report | None = None, seconds: float = 0.0, *, unclaimed_seconds: float = UNCLAIMED_SECONDS
    ) -> None:
        self.seconds: float = seconds
        self.unclaimed_seconds: float = unclaimed_seconds
        self._report = report or Report()
        self._hurried: trio.Event | None = None

    def begin(self) -> None:
        """Take nothing new from now on. Synchronous; can be called again."""
        self._report.is_draining = True

    def expect_nobody(self) -> None:
        """No client comes back: answers are waited for all the same, for the journal, and kept for nobody else."""
        self.unclaimed_seconds = 0.0
        self._report.keep_calls()

    async def run(self, client: BatchOpenAI) -> None:
        """Wait until every call is answered, until `seconds` have passed, or until `hurry`. Open windows are closed.

        Answers whose clients went away are kept for up to `unclaimed_seconds` more.
        """
        self.begin()
        if self.seconds <= 0.0:
            return
        self._hurried = trio.Event()
        with trio.move_on_after(self.seconds):
            await self._until_done(client, self._hurried)
        self._hurried = None

    def hurry(self) -> bool:
        """End the wait; False if there is none."""
        if self._hurried is None:
            return False
        self._hurried.set()
        return True

    async def until_idle(self, client: BatchOpenAI) -> None:
        """Wait until no call is without its answer. Nothing is sent earlier for that."""
        while self._is_busy(client):  # noqa: ASYNC110  (calls end in many places)
            await trio.sleep(LOOK_SECONDS)

    async def _until_done(self, client: BatchOpenAI, hurried: trio.Event) -> None:
        unclaimed_until = trio.current_time() + self.unclaimed_seconds
        while not hurried.is_set():
            now = trio.current_time()
            if self._is_busy(client):
                unclaimed_until = now + self.unclaimed_seconds
                client.flush()
            elif not self._report.unclaimed_answers or now >= unclaimed_until:
                return
            with trio.move_on_after(LOOK_SECONDS):
                await hurried.wait()

    def _is_busy(self, client: BatchOpenAI) -> bool:
        statistics = client.batch_statistics()
        return self._report.attended_calls > 0 or (statistics is not None and statistics.waiting_requests > 0)
