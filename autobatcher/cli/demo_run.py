"""Run a demo: its upstream, its client, its calls and its progress."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import openai
import trio

from .. import BatchOpenAI, events
from ..display.displays import Terminal
from ..emulator import BatchFault, Emulator, FaultPlan
from ..money.receipt import Receipt
from ..progress import Progress
from ..upstream.failures import http_library
from ..upstream.providers import profile_named
from .demo_plan import Plan
from .flags import Dialect
from .live_status import Screen, plain_line
from .loopback import bypass_proxy
from .signals import run_until_signalled
from .workload import Call, make_call

SLOW_BATCH = 2
"""The number of the emulated batch that would miss the deadline."""

FLEX_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of a demo.

    Attributes:
        interrupted: the signal that ended it, or None.
        lanes: how many calls an emulator billed on each lane.
        receipt: what they cost.
    """

    progress: Progress
    seconds: float
    interrupted: signal.Signals | None
    lanes: Counter[str]
    receipt: Receipt


async def run_demo(plan: Plan, screen: Screen) -> Outcome:
    """Make the plan's calls. The first signal cancels them, and their batches upstream."""
    with ExitStack() as stack:
        run = _Run(plan, screen, stack)
        interrupted = await run_until_signalled(run.make_calls)
        return Outcome(run.progress, run.now(), interrupted, run.billed_lanes(), run.client.receipt())


class _Run:
    """One running demo. Its emulator, if any, lives as long as `stack`."""

    def __init__(self, plan: Plan, screen: Screen, stack: ExitStack) -> None:
        self.plan = plan
        self.screen = screen
        self.progress = Progress(len(plan.calls))
        self.begun = trio.current_time()
        self.emulator = None if plan.like is None else stack.enter_context(make_emulator(plan, plan.like))
        shown = screen.progress(rate=plan.rate, calls=len(plan.calls))
        self.client = make_client(plan, self.emulator, self.take_event, shown)

    def now(self) -> float:
        """Seconds since the start, as the viewer counts them."""
        return (trio.current_time() - self.begun) / self.plan.rate

    def billed_lanes(self) -> Counter[str]:
        return Counter(() if self.emulator is None else (billed.lane for billed in self.emulator.ledger()))

    def take_event(self, fields: dict[str, Any]) -> None:
        if "elapsed_seconds" in fields:
            fields = {**fields, "elapsed_seconds": fields["elapsed_seconds"] / self.plan.rate}
        event = events.parse(fields)
        batch = self.progress.take(event, self.now())
        line = plain_line(event, batch)
        if line and (batch is None or not self.screen.is_live):  # the live picture shows batches
            self.screen.say(f"[{self.now():5.1f} s] {line}")

    async def make_calls(self, stop: trio.Event) -> None:
        async with self.client, trio.open_nursery() as nursery:
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


def make_emulator(plan: Plan, like: Dialect) -> Emulator:
    """The plan's upstream. If there are deadlines to keep, one batch gets stuck."""
    stuck = BatchFault(nth=(SLOW_BATCH,), ends="stuck", after=0.5)
    return Emulator(
        like=like,
        batch_seconds=plan.batch_seconds,
        cancelling_seconds=profile_named(like).cancel_seconds if plan.has_deadline else 0.0,
        flex_seconds=FLEX_SECONDS,
        faults=FaultPlan((stuck,) if plan.has_deadline else ()),
    )


def make_client(
    plan: Plan, emulator: Emulator | None, take_event: events.BatchEventHandler, progress: Terminal | bool
) -> BatchOpenAI:
    """The plan's client, on an emulator in this process or on the network."""
    arguments = dict(plan.client)
    if emulator is not None:
        library = http_library(openai.DefaultAsyncHttpxClient).__name__
        arguments["http_client"] = emulator.http_client(library=library)
    bypass_proxy(arguments["base_url"])
    return BatchOpenAI(
        **arguments, batch_event_handler=take_event, cancel_active_batches_on_close=True, progress=progress
    )


async def _cancel_upon(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
