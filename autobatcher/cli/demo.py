"""`autobatcher demo`: ordinary calls become batches, before one's eyes.

demo          flags → Plan
run_demo      Plan → Outcome: the upstream, the client, the calls, the screen
workload.py   the calls; progress.py: what is seen meanwhile; summary.py: the table at the end
"""

from __future__ import annotations

import math
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import openai
import trio
from cyclopts import Parameter
from rich.console import Console, RenderableType

from .. import BatchOpenAI, events
from ..emulator import Emulator
from ..progress import Progress
from ..upstream.failures import http_library
from ..upstream.providers import KNOWN_PROFILES, ProviderProfile, profile_for, profile_named
from .flags import Count, Dialect, Dollars, Percent, PositiveSeconds, Seconds, Url, UsageError
from .live_status import Screen, live_picture, plain_line, show
from .signals import run_until_signalled
from .summary import Prices, Summary, summary_rows, summary_text
from .workload import ENDPOINTS, Call, Kind, Models, count_kinds, make_call, mixed_calls

EXAMPLES = """
**Examples**

    # no key, no network, no cost
    autobatcher demo

    # a provider that wants one endpoint and one model a batch
    autobatcher demo --like openai --requests 1000

    # the real thing: 20 calls, which cost real money
    export OPENAI_API_KEY=...
    autobatcher demo --base-url https://api.openai.com/v1 --model MODEL
"""

EMULATED_REQUESTS, REAL_REQUESTS = 300, 20
EMULATED_BATCH_SECONDS = 3.0
ARRIVALS_PER_SECOND, LONGEST_ARRIVAL_SECONDS = 120, 2.5
"""Emulated calls do not come all at once, so that one can see windows close one after the other."""

_EMULATED_URL = "http://emulator.invalid/v1"
_SHOWN_ERRORS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a demo is going to do.

    Attributes:
        like: which provider is emulated; None for a real one.
        client: arguments for `BatchOpenAI`.
        arrival_seconds: over how long a time the calls are spread.
    """

    like: Dialect | None
    upstream: str
    calls: list[Call]
    models: Models
    client: dict[str, Any]
    batch_seconds: float = 0.0
    arrival_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a demo went; `interrupted` by which signal, or None."""

    progress: Progress
    seconds: float
    interrupted: signal.Signals | None


def demo(
    *,
    requests: Count | None = None,
    like: Dialect | None = None,
    batch_seconds: Seconds | None = None,
    base_url: Url | None = None,
    api_key: Annotated[str | None, Parameter(show_default=False)] = None,
    provider: str | None = None,
    model: str | None = None,
    embedding_model: str | None = None,
    completion_window: str | None = None,
    batch_size: Count | None = None,
    batch_window: Seconds | None = None,
    poll_interval: PositiveSeconds | None = None,
    input_price: Dollars = 1.00,
    output_price: Dollars = 4.00,
    batch_discount: Percent = 50.0,
) -> int:
    """Push a few hundred ordinary calls through BatchOpenAI and watch them become batches.

    Chat, embedding and response calls, mixed. Without --base-url everything happens in this process, against an
    emulated Batch API: no key, no network, no cost, a few seconds. With --base-url it does the same against a
    real provider; that costs real money and may take as long as the completion window. Progress goes to stderr,
    the table at the end to stdout. Ctrl-C cancels upstream what is still running. This command's flags are not
    read from AUTOBATCHER_* variables.

    Exit codes: 0 if every call was answered, 1 if any failed, 130 after Ctrl-C.

    Args:
        requests: How many calls to make. Default: 300 emulated ones, 20 real ones.
        like: Whose Batch API to emulate: doubleword (the default; mixes endpoints in a batch, shows results while
            it runs) or openai (one endpoint and one model a batch).
        batch_seconds: How long an emulated batch takes. Default: 3s.
        base_url: A real provider's base URL, ending in /v1. Costs real money.
        api_key: The key for it. Default: the environment's OPENAI_API_KEY.
        provider: Whose rules its batches follow (openai, doubleword, groq, ...). Default: by the host of --base-url.
        model: The model for chat and response calls. Needed with --base-url.
        embedding_model: The model for embedding calls. Without it, a real provider gets none.
        completion_window: How long the provider may take. Default: 24h.
        batch_size: Submit a batch when so many calls are queued. Default: a fifth of an emulated demo's calls, 1000 of
            a real one's.
        batch_window: Submit a batch this long after its first call. Default: 1s.
        poll_interval: How often to look at a running batch. Default: 0.25s emulated, 5s real.
        input_price: An example price, in dollars per million tokens in, for the table's cost lines.
        output_price: The same for tokens out.
        batch_discount: How much cheaper batches are, in percent, for the same lines.
    """
    settings = {"batch_size": batch_size, "batch_window_seconds": batch_window, "poll_interval_seconds": poll_interval}
    given = {name: value for name, value in settings.items() if value is not None}
    if base_url is None:
        refuse_flags({"--api-key": api_key, "--provider": provider}, "needs --base-url, the provider that it is for.")
        plan = emulated_plan(
            requests or EMULATED_REQUESTS,
            like or "doubleword",
            EMULATED_BATCH_SECONDS if batch_seconds is None else batch_seconds,
            Models(model or "gpt-emulator", embedding_model or "text-embedding-emulator"),
            given,
        )
    else:
        refuse_flags(
            {"--like": like, "--batch-seconds": batch_seconds}, "is for the emulator: leave it or --base-url out."
        )
        plan = real_plan(
            requests or REAL_REQUESTS,
            base_url,
            api_key or os.environ.get("OPENAI_API_KEY"),
            provider,
            model,
            embedding_model,
            given,
        )
    return report(plan, Prices(input_price, output_price, batch_discount))


def refuse_flags(flags: dict[str, object], why: str) -> None:
    """Raises `UsageError` for the first of the flags that was given."""
    for name, value in flags.items():
        if value is not None:
            raise UsageError(f"{name} {why}")


# Plans


def emulated_plan(requests: int, like: Dialect, batch_seconds: float, models: Models, given: dict[str, Any]) -> Plan:
    """The demo against an emulator in this process. `given` are the client's arguments that the user chose."""
    defaults = {
        "batch_size": math.ceil(requests / 5),
        "batch_window_seconds": 1.0,
        "poll_interval_seconds": 0.25,
    }
    return Plan(
        like=like,
        upstream=f"emulated in this process, like {like}",
        calls=mixed_calls(requests),
        models=models,
        client={**defaults, **given, "base_url": _EMULATED_URL, "api_key": "none-needed", "provider": like},
        batch_seconds=batch_seconds,
        arrival_seconds=min(LONGEST_ARRIVAL_SECONDS, requests / ARRIVALS_PER_SECOND),
    )


def real_plan(
    requests: int,
    base_url: str,
    api_key: str | None,
    provider: str | None,
    model: str | None,
    embedding_model: str | None,
    given: dict[str, Any],
) -> Plan:
    """The demo against a real provider.

    Raises:
        UsageError: if the key or the model is missing, or the provider is none that we know.
    """
    if not api_key:
        raise UsageError("--api-key is missing: the key for --base-url (or set OPENAI_API_KEY).")
    if not model:
        raise UsageError("--model is missing: the name of a chat model that --base-url offers.")
    profile = _find_profile(provider, base_url)
    kinds = possible_kinds(profile, has_embedding_model=embedding_model is not None)
    defaults = {"batch_window_seconds": 1.0, "poll_interval_seconds": 5.0}
    return Plan(
        like=None,
        upstream=urlsplit(base_url).hostname or base_url,  # no more of it: a URL may have a password in it
        calls=mixed_calls(requests, kinds),
        models=Models(model, embedding_model or ""),
        client={**defaults, **given, "base_url": base_url, "api_key": api_key, "provider": profile},
    )


def _find_profile(provider: str | None, base_url: str) -> ProviderProfile:
    if provider is None:
        return profile_for(base_url)
    try:
        return profile_named(provider)
    except ValueError as error:
        known = ", ".join(profile.name for profile in KNOWN_PROFILES)
        raise UsageError(f"--provider must be one of {known}; not {provider!r}.") from error


def possible_kinds(profile: ProviderProfile, *, has_embedding_model: bool) -> list[Kind]:
    """The kinds of calls that the provider has batches for and that we know a model for."""
    kinds: list[Kind] = [kind for kind, endpoint in ENDPOINTS.items() if endpoint in profile.endpoints]
    return [kind for kind in kinds if kind != "embedding" or has_embedding_model]


# Running one


def report(plan: Plan, prices: Prices) -> int:
    """Run the plan, show what happens, and give the exit code."""
    screen = Screen(Console(stderr=True), is_live=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
    if plan.like is None:
        screen.say(
            f"This sends {len(plan.calls)} real requests ({count_kinds(plan.calls)}) to {plan.upstream}"
            " and costs real money. Ctrl-C cancels what has not run yet."
        )
    else:
        screen.say(f"{len(plan.calls)} calls ({count_kinds(plan.calls)}) to a Batch API {plan.upstream}")
    outcome = trio.run(run_demo, plan, screen)
    if outcome.interrupted is not None:
        return _report_interruption(outcome, screen)
    _report_errors(outcome.progress, screen)
    screen.say("")
    rows = summary_rows(summarise(plan, outcome), prices)
    Console().print(summary_text(rows), soft_wrap=True, end="")
    return 1 if outcome.progress.failed else 0


def _report_interruption(outcome: Outcome, screen: Screen) -> int:
    assert outcome.interrupted is not None
    progress = outcome.progress
    screen.say(
        f"Interrupted: {progress.answered} of {progress.requests} calls answered"
        f", {progress.cancelled_batches} batches cancelled upstream."
    )
    return 128 + outcome.interrupted


def _report_errors(progress: Progress, screen: Screen) -> None:
    for message, count in progress.errors.most_common(_SHOWN_ERRORS):
        screen.say(f"{count} failed with {message}")
    if len(progress.errors) > _SHOWN_ERRORS:
        screen.say(f"... and {len(progress.errors) - _SHOWN_ERRORS} other kinds of failure")


def summarise(plan: Plan, outcome: Outcome) -> Summary:
    progress = outcome.progress
    return Summary(
        upstream=plan.upstream,
        requests=len(plan.calls),
        answered=progress.answered,
        failed=progress.failed,
        batches=progress.submitted_batches,
        input_tokens=progress.input_tokens,
        output_tokens=progress.output_tokens,
        seconds=outcome.seconds,
    )


async def run_demo(plan: Plan, screen: Screen) -> Outcome:
    """Make the plan's calls; the first signal cancels them, and upstream what is active."""
    with ExitStack() as stack:
        run = _Run(plan, screen, stack)
        interrupted = await run_until_signalled(run.make_calls)
        return Outcome(run.progress, run.now(), interrupted)


class _Run:
    """One demo at work. Its emulator, if it has one, lives as long as `stack`."""

    def __init__(self, plan: Plan, screen: Screen, stack: ExitStack) -> None:
        self.plan = plan
        self.screen = screen
        self.progress = Progress(len(plan.calls))
        self.begun = trio.current_time()
        self.client = make_client(plan, self.take_event, stack)

    def now(self) -> float:
        """Seconds since it began."""
        return trio.current_time() - self.begun

    def take_event(self, fields: dict[str, Any]) -> None:
        event = events.parse(fields)
        batch = self.progress.take(event, self.now())
        line = plain_line(event, batch)
        if line and (batch is None or not self.screen.is_live):  # the live picture shows what moves a batch
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
    return BatchOpenAI(**arguments, batch_event_handler=take_event, cancel_active_batches_on_close=True)


async def _cancel_upon(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
