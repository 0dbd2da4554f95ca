"""Run a demo: its upstream, its client, its calls and its live status."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import openai
import trio
from rich.console import RenderableType

from .. import BatchOpenAI, events
from ..emulator import Emulator
from ..progress import Progress
from ..upstream.failures import http_library
from .demo_plan import Plan
from .live_status import Screen, live_picture, plain_line, show
from .loopback import bypass_proxy
from .signals import run_until_signalled
from .workload import Call, make_call


@dataclass(frozen=True)
class Outcome:
    """The outcome of a demo; `interrupted` is the signal that ended it, or None."""

    progress: Progress
    seconds: float
    interrupted: signal.Signals | None


async def run_demo(plan: Plan, screen: Screen) -> Outcome:
    """Make the plan's calls. The first signal cancels them, and their batches upstream."""
    with ExitStack() as stack:
        run = _Run(plan, screen, stack)
        interrupted = await run_until_signalled(run.make_calls)
        return Outcome(run.progress, run.now(), interrupted)


class _Run:
    """One running demo. Its emulator, if any, lives as long as `stack`."""

    def __init__(self, plan: Plan, screen: Screen, stack: ExitStack) -> None:
        self.plan = plan
        self.screen = screen
        self.progress = Progress(len(plan.calls))
        self.begun = trio.current_time()
        self.client = make_client(plan, self.take_event, stack)

    def now(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.begun

    def take_event(self, fields: dict[str, Any]) -> None:
        event = events.parse(fields)
        batch = self.progress.take(event, self.now())
        line = plain_line(event, batch)
        if line and (batch is None or not self.screen.is_live):  # the live picture shows batches
            self.screen.say(f"[{self.now():5.1f} s] {line}")

    def picture(self) -> RenderableType:
        statistics = self.client.batch_statistics()
        queued = 0 if statistics is None else statistics.queued_requests
        return live_picture(self.progress, queued=queued, now=self.now())

    async def make_calls(self, stop: trio.Event) -> None:
        async with show(self.screen, self.picture), self.client, trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_upon, stop, nursery.cancel_scope)
            await self._call_them_all()
            nursery.cancel_scope.cancel()

    async def _call_them_all(self) -> None:
        pause = self.plan.arrival_seconds / len(self.plan.calls)
        async with trio.open_nursery() as callers:
            for call in self.plan.calls:
                callers.start_soon(self._make_call, call)
                await trio.sleep(pause)

    async def _make_call(self, call: Call) -> None:
        try:
            usage = await make_call(self.client, call, self.plan.models)
            self.progress.answer(usage.input_tokens, usage.output_tokens)
        except openai.OpenAIError as error:
            self.progress.fail(error)


def make_client(plan: Plan, take_event: events.BatchEventHandler, stack: ExitStack) -> BatchOpenAI:
    """The plan's client, on an emulator in this process or on the network."""
    arguments = dict(plan.client)
    if plan.like is not None:
        emulator = stack.enter_context(Emulator(like=plan.like, batch_seconds=plan.batch_seconds))
        library = http_library(openai.DefaultAsyncHttpxClient).__name__
        arguments["http_client"] = emulator.http_client(library=library)
    bypass_proxy(arguments["base_url"])
    return BatchOpenAI(**arguments, batch_event_handler=take_event, cancel_active_batches_on_close=True)


async def _cancel_upon(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
