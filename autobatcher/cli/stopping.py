"""How a proxy stops: it drains, asks on a terminal what becomes of paid batches, and closes."""

from __future__ import annotations

import math
import signal
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ..client.server_calls import cancels_on_close, set_cancels_on_close
from ..display.sentence import counted
from ..engine.units import format_duration
from .output import print_notice
from .question import Question
from .signals import StopSignals

if TYPE_CHECKING:
    from ..server import Drain  # slow to import


class Choice(Enum):
    """What becomes of running batches, by the letter that stands for it."""

    WAIT = "w"
    LEAVE = "l"
    CANCEL = "c"


class ProxyStop:
    """Stops the proxy of a command, once.

    Args:
        command: its name.
        question: asks the user; None if there is nobody, or nothing to lose.

    Attributes:
        stop: set when the proxy is to drain and to close; for `serve` of the server.
        choice: what the user chose; None for what the flags say.
    """

    def __init__(self, command: str, client: Any, drain: Drain, question: Question | None) -> None:
        self.stop: trio.Event = trio.Event()
        self.choice: Choice | None = None
        self.drain: Drain = drain
        self._command = command
        self._client = client
        self._question = question

    async def upon(self, signals: StopSignals, scope: trio.CancelScope) -> None:
        """Stop upon the first signal, and hurry upon the second one.

        Args:
            scope: of the server; cancelled if there is no drain that the second signal could end.
        """
        await signals.asked.wait()
        self.drain.begin()
        await self.decide(signals)
        was_hurried = signals.hurried.is_set()
        self.end(signals)
        if not await self.hurry_upon(signals) and not was_hurried:
            scope.cancel()

    async def decide(self, signals: StopSignals, *, can_wait: bool = True) -> None:
        """After Ctrl-C, while paid batches run, ask what becomes of them. Ends early if none runs any more.

        Args:
            can_wait: whether anybody will read the answers.
        """
        question = self._question
        is_asked = question is not None and signals.first is signal.SIGINT and not signals.hurried.is_set()
        if question is None or not is_asked or not (self._running_batches() and self._waiting_calls()):
            return
        choices = [each for each in Choice if can_wait or each is not Choice.WAIT]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after, signals.hurried.wait, nursery.cancel_scope)
            nursery.start_soon(_cancel_after, partial(self.drain.until_idle, self._client), nursery.cancel_scope)
            letter = await question.ask(self._text(choices, question.ask_seconds), [each.value for each in choices])
            self.choice = None if letter is None else Choice(letter)
            nursery.cancel_scope.cancel()
        self._apply(self.choice)

    def end(self, signals: StopSignals) -> None:
        """Let the proxy drain and close. If the second signal has come, without a drain."""
        if signals.hurried.is_set():
            self.drain.seconds = 0.0
        elif signals.first is not None and self.drain.seconds > 0.0 and (waiting := self._waiting_calls()):
            limit = "" if self.drain.seconds == math.inf else f" for up to {format_duration(self.drain.seconds)}"
            self._say(f"shutting down: waiting{limit}; calls without an answer: {waiting:,}. Another signal ends that.")
        self.stop.set()

    async def hurry_upon(self, signals: StopSignals) -> bool:
        """Upon the second signal, end the drain. Returns whether there was one."""
        await signals.hurried.wait()
        if batches := self._running_batches():
            self._say(f"stopping now. One more signal ends the process; batches that may run on then: {batches:,}.")
        return self.drain.hurry()

    def _apply(self, choice: Choice | None) -> None:
        if choice is Choice.WAIT:
            self.drain.seconds = math.inf
        elif choice is not None:
            self.drain.seconds = 0.0
            set_cancels_on_close(self._client, choice is Choice.CANCEL)
        if choice is Choice.LEAVE and not self._client.has_journal:
            self._say(f"left running: {', '.join(self._batch_ids())}. The provider's dashboard has their results.")

    def _text(self, choices: list[Choice], ask_seconds: float) -> str:
        """What the user is asked. The last line is the prompt."""
        lines = [
            "",
            f"autobatcher {self._command}: {counted(self._running_batches(), 'paid batch', 'paid batches')} running, "
            f"{counted(self._waiting_calls(), 'call', 'calls')} waiting.",
            *(f"  {each.value}  {self._meaning(each)}" for each in choices),
            f"  Enter, Ctrl-C, or nothing for {format_duration(ask_seconds)}: {self._default()}",
            f"{'/'.join(each.value for each in choices)}? ",
        ]
        return "\n".join(lines)

    def _meaning(self, choice: Choice) -> str:
        if choice is Choice.WAIT:
            return "wait for the answers, then stop"
        if choice is Choice.CANCEL:
            return "cancel the batches, and stop"
        return (
            f"leave the batches running{'' if self._client.has_journal else ', although nobody reads them'}, and stop"
        )

    def _default(self) -> str:
        """What happens without an answer."""
        cancels = cancels_on_close(self._client) and not self._client.has_journal
        close = self._meaning(Choice.CANCEL if cancels else Choice.LEAVE)
        return f"wait for up to {format_duration(self.drain.seconds)}; then {close}" if self.drain.seconds else close

    def _batch_ids(self) -> Sequence[str]:
        statistics = self._client.batch_statistics()
        return () if statistics is None else statistics.active_batch_ids

    def _running_batches(self) -> int:
        return len(self._batch_ids())

    def _waiting_calls(self) -> int:
        statistics = self._client.batch_statistics()
        return 0 if statistics is None else statistics.waiting_requests

    def _say(self, text: str) -> None:
        print_notice(f"autobatcher {self._command}: {text}")


async def _cancel_after(wait: Callable[[], Awaitable[object]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
