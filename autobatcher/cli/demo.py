"""`autobatcher demo`: watch ordinary calls become batches.

demo.py       flags → `Plan` → `Outcome` → the table at the end and the exit code
demo_plan.py  which calls, to which upstream; workload.py: the calls
demo_run.py   the upstream, the client, the calls; live_status.py: what is told of them
summary.py    the table
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio

from ..display.sentence import counted
from ..progress import Progress
from .demo_plan import Plan, emulated_plan, real_plan
from .demo_run import Outcome, run_demo
from .flags import Count, Dialect, Dollars, Percent, PositiveSeconds, Seconds, Secret, Url, UsageError
from .key_file import key_given
from .live_status import Screen, screen_on
from .output import PrintableConsole, print_text, table_room
from .price_flags import flat_prices
from .summary import Summary, summary_rows, summary_text
from .workload import Models, count_kinds

EXAMPLES = """
**Examples**

    # no key, no network, no cost
    autobatcher demo

    # a provider with one endpoint and one model per batch
    autobatcher demo --like openai --requests 1000

    # a batch is too slow: it is cancelled, its lines go to the flex lane
    autobatcher demo --like openai --deadline 30s

    # a real provider: 20 calls, which cost real money
    export OPENAI_API_KEY=...
    autobatcher demo --base-url https://api.openai.com/v1 --model MODEL
"""

EMULATED_REQUESTS, REAL_REQUESTS = 300, 20
EMULATED_BATCH_SECONDS = 3.0
EXAMPLE_PRICES = (1.00, 4.00)
"""Dollars per million tokens, in and out."""

_SHOWN_ERRORS = 3


def demo(
    *,
    requests: Count | None = None,
    like: Dialect | None = None,
    batch_seconds: Seconds | None = None,
    deadline: PositiveSeconds | None = None,
    base_url: Url | None = None,
    api_key: Secret = None,
    api_key_file: Path | None = None,
    provider: str | None = None,
    model: str | None = None,
    embedding_model: str | None = None,
    completion_window: str | None = None,
    batch_size: Count | None = None,
    batch_window: Seconds | None = None,
    poll_interval: PositiveSeconds | None = None,
    input_price: Dollars | None = None,
    output_price: Dollars | None = None,
    batch_discount: Percent = 50.0,
) -> int:
    """Push a few hundred ordinary calls through BatchOpenAI and watch them become batches.

    Chat, embedding and response calls, mixed. Without --base-url everything happens in this process, against an
    emulated Batch API: no key, no network, no cost, a few seconds. With --base-url it does the same against a
    real provider; that costs real money and may take as long as the completion window. Progress goes to stderr,
    the table at the end to stdout. Ctrl-C cancels running batches upstream. AUTOBATCHER_* variables are ignored.

    Exit codes: 0 if every call was answered, 1 if any failed, 130 after Ctrl-C.

    Args:
        requests: How many calls to make. Default: 300 emulated ones, 20 real ones.
        like: The Batch API to emulate: doubleword (the default; mixes endpoints in a batch, shows results while
            it runs) or openai (one endpoint and one model per batch).
        batch_seconds: How long an emulated batch takes. Default: 3s.
        deadline: By when each answer is needed; flex calls are used, too. Emulated, one batch is too slow, and time
            passes so fast that this stands for two hours.
        base_url: A real provider's base URL, ending in /v1. Costs real money.
        api_key: The provider's key. Default: the environment's OPENAI_API_KEY.
        api_key_file: A file with the provider's key and nothing else.
        provider: The provider's rules for batches: openai, doubleword, groq, ..., or a TOML or JSON file of a profile.
            Default: by the host of --base-url.
        model: The model for chat and response calls. Needed with --base-url.
        embedding_model: The model for embedding calls. Without it, a real provider gets none.
        completion_window: How long the provider may take. Default: 24h.
        batch_size: Submit a batch when this many calls are queued. Default: a fifth of the calls emulated, 1000 real.
        batch_window: Submit a batch this long after its first call. Default: 1s.
        poll_interval: How often to poll a running batch. Default: 0.25s emulated, 5s real.
        input_price: A price for the cost lines of the table, in dollars per million input tokens. Default: an example
            of 1.00 emulated, the provider's own where it is known.
        output_price: The same for output tokens. Default: 4.00 emulated.
        batch_discount: The discount of batches and of the flex lane at these prices, in percent.
    """
    settings = {
        "batch_size": batch_size,
        "batch_window_seconds": batch_window,
        "poll_interval_seconds": poll_interval,
        "deadline": deadline,
    }
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if base_url is None:
        input_price, output_price = _or(input_price, EXAMPLE_PRICES[0]), _or(output_price, EXAMPLE_PRICES[1])
    prices = flat_prices(input_price, output_price, batch_discount / 100)
    if prices is not None:
        given["prices"] = prices
    api_key = key_given(api_key, api_key_file, "--api-key")
    if base_url is None:
        refuse_flags({"--api-key": api_key, "--provider": provider}, "needs --base-url, the provider's URL.")
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
    off = f"batches {batch_discount:g} % off"
    said = f"${input_price or 0:.2f} per million tokens in, ${output_price or 0:.2f} out, {off}"
    return report(plan, "" if prices is None else said)


def _or(price: float | None, example: float) -> float:
    return example if price is None else price


def refuse_flags(flags: dict[str, object], why: str) -> None:
    """Raise `UsageError` if one of the flags was given."""
    for name, value in flags.items():
        if value is not None:
            raise UsageError(f"{name} {why}")


def _fast_clock(rate: float) -> trio.abc.Clock:
    from trio.testing import MockClock  # imports pytest where it is installed: half a second for every command

    return MockClock(rate=rate)


def report(plan: Plan, prices: str) -> int:
    """Run the plan, show its progress, and return the exit code.

    Args:
        prices: those that are not the provider's, in words.
    """
    screen = screen_on(PrintableConsole(stderr=True))
    if plan.like is None:
        screen.say(
            f"This sends {len(plan.calls)} real requests ({count_kinds(plan.calls)}) to {plan.upstream}"
            " and costs real money. Ctrl-C cancels the batches."
        )
    else:
        screen.say(f"{len(plan.calls)} calls ({count_kinds(plan.calls)}) to a Batch API {plan.upstream}")
    if plan.rate != 1:
        screen.say(
            f"Time passes {plan.rate:g} times as fast: the deadline stands for two hours. Batch 2 will be too slow."
        )
    outcome = trio.run(run_demo, plan, screen, clock=None if plan.rate == 1 else _fast_clock(plan.rate))
    if outcome.interrupted is not None:
        return _report_interruption(outcome, screen)
    _report_errors(outcome.progress, screen)
    screen.say("")
    rows = summary_rows(summarise(plan, outcome, prices))
    print_text(summary_text(rows, room=table_room()))
    return 1 if outcome.progress.failed else 0


def _report_interruption(outcome: Outcome, screen: Screen) -> int:
    assert outcome.interrupted is not None
    progress = outcome.progress
    screen.say(
        f"Interrupted: {progress.answered} of {progress.requests} calls answered"
        f", {counted(progress.cancelled_batches, 'batch', 'batches')} cancelled upstream."
    )
    return 128 + outcome.interrupted


def _report_errors(progress: Progress, screen: Screen) -> None:
    for message, count in progress.errors.most_common(_SHOWN_ERRORS):
        screen.say(f"{count} failed with {message}")
    if len(progress.errors) > _SHOWN_ERRORS:
        screen.say(f"... and {len(progress.errors) - _SHOWN_ERRORS} other kinds of failure")


def summarise(plan: Plan, outcome: Outcome, prices: str = "") -> Summary:
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
        escalated=outcome.progress.escalated if plan.has_deadline else None,
        lanes=outcome.lanes,
        receipt=outcome.receipt,
        prices=prices,
    )
