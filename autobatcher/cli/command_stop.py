"""When the proxy of `run` stops: after its command, or a while after a signal that the command ignores."""

from __future__ import annotations

from typing import Any

import trio

from ..client.server_calls import keep_answers_for_rerun
from .signals import StopSignals
from .stopping import Choice, ProxyStop

GRACE_SECONDS = 5.0
"""How long after a signal the command may still use its batches. CI systems kill about ten seconds after the first
signal. By then no paid batch may be left running, even if the command ignores signals."""

MOMENT_SECONDS = 0.1
"""How much later than its command `run` may hear of the signal that ended it."""

SIGNALLED = 128
"""Exit codes above this one tell the number of a signal, as in a shell."""


class CommandStop:
    """Stops the proxy of a command, once.

    Args:
        stop: how it is stopped.
    """

    def __init__(self, stop: ProxyStop, client: Any) -> None:
        self._stop = stop
        self._client = client
        self._is_begun = False

    async def upon(self, signals: StopSignals) -> None:
        """Upon the first signal take nothing new, and stop after `GRACE_SECONDS`. Hurry upon the second one."""
        await signals.asked.wait()
        self._stop.drain.begin()
        with trio.move_on_after(GRACE_SECONDS):
            await signals.hurried.wait()
        await self._end(signals, is_well=False, can_wait=True)
        await self._stop.hurry_upon(signals)

    async def command_ended(self, signals: StopSignals, code: int) -> None:
        """The command has ended with this exit code. Its clients are gone, so nobody is waited for."""
        if code > SIGNALLED:
            with trio.move_on_after(MOMENT_SECONDS):
                await signals.asked.wait()
        drain = self._stop.drain
        drain.expect_nobody()
        if not (self._stop.choice is Choice.WAIT and self._client.has_journal):
            drain.seconds = 0.0
            drain.hurry()
        await self._end(signals, is_well=code == 0, can_wait=self._client.has_journal)

    async def _end(self, signals: StopSignals, *, is_well: bool, can_wait: bool) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        await self._stop.decide(signals, can_wait=can_wait)
        if self._stop.choice is Choice.CANCEL:
            keep_answers_for_rerun(self._client)
        elif not is_well:
            self._client.keep_for_rerun()  # its batches, too
        self._stop.end(signals)
