"""How often batches are polled, and how late their end is noticed, at the default poll interval; on virtual time.

    python benchmarks/polls.py [--rounds N]
    python benchmarks/polls.py --one ours-10-moving

So many batches are under way at once, each followed by another one. Half take less than 7 minutes, nine in ten less
than an hour, as public figures say; "alike" ones take 7 minutes, give or take a quarter. While a batch runs, its counts
are "moving", or stand "still" until its end.

    alone      who polls each batch for itself, less often while nothing changes: what we did before
    ours       `BatchOpenAI`
    unlisted   the same at a provider whose list is not asked for (azure)

`per_batch_hour` counts polls and lists for each hour that a batch ran; `late_s` is how many seconds after its end its
calls are answered, in the mean, `latest_s` at most. The first batches do not count: how long the others take is learnt
from them.
"""

from __future__ import annotations

import argparse
import json
import random
from statistics import fmean
from typing import Any

import openai
import trio
from rounds import Contender, argument_parser, run_rounds
from spent import versions
from trio.testing import MockClock

from autobatcher import BatchOpenAI
from autobatcher.emulator import BatchFault, Emulator, FaultPlan, LogNormal
from autobatcher.engine.settings import Settings
from autobatcher.upstream.failures import http_library

LINES = 50
LEAST_BATCHES, LEARNT_FROM = 100, 40
INTERVAL = Settings().poll_interval_seconds
DURATIONS = {
    "moving": LogNormal(median_seconds=420, p90_seconds=3_600),
    "still": LogNormal(median_seconds=420, p90_seconds=3_600),
    "alike": LogNormal(median_seconds=420, p90_seconds=540),
}
NAMES = (
    *(f"alone-{how}" for how in DURATIONS),
    *(f"ours-{count}-{how}" for count in (1, 10, 100) for how in ("moving", "still")),
    *("ours-1-alike", "ours-10-alike", "unlisted-10-moving", "unlisted-10-still", "unlisted-10-alike"),
)


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "polls", [Contender(name) for name in NAMES], options)
    else:
        print(json.dumps(measure(options.one) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__, rounds=1)
    parser.add_argument("--one", metavar="NAME", help="measure this one once, here")
    return parser.parse_args()


def measure(name: str) -> dict[str, float]:
    random.seed(name)  # the jitter of waits
    if name.startswith("alone-"):
        return alone(name.removeprefix("alone-"))
    who, count, how = name.split("-")
    like = "azure" if who == "unlisted" else "openai"
    return trio.run(ours, like, int(count), how, clock=MockClock(autojump_threshold=0))


def alone(how: str) -> dict[str, float]:
    """The interval grows by a quarter while nothing changes, up to six times; each wait is up to a fifth shorter."""
    polls, seconds, late = 0, 0.0, []
    for number in range(LEARNT_FROM, LEARNT_FROM + LEAST_BATCHES):
        takes, at, done, wait = DURATIONS[how].draw(number, 0), 0.0, 0, INTERVAL
        while at < takes:
            at += wait * random.uniform(0.8, 1)
            before, done = done, int(LINES * at / takes) if how == "moving" else 0
            wait = INTERVAL if done > before else min(wait * 1.25, 6 * INTERVAL)
            polls += 1
        seconds += takes
        late.append(at - takes)
    return told(polls, seconds, late)


async def ours(like: str, at_once: int, how: str) -> dict[str, float]:
    plan = FaultPlan((BatchFault(at_once=how != "moving"),))
    seen = Seen()
    with Emulator(like=like, batch_seconds=DURATIONS[how], faults=plan, finalizing_seconds=0) as emulator:  # type: ignore[arg-type]
        async with client_of(emulator, like, seen) as client, trio.open_nursery() as nursery:
            for number in range(at_once):
                nursery.start_soon(one_after_the_other, client, f"model-{number}")
            await seen.wait_for_ends(LEARNT_FROM)
            before, begun = polls_of(emulator), trio.current_time()
            await seen.wait_for_ends(LEARNT_FROM + max(LEAST_BATCHES, at_once))
            polls, ended = polls_of(emulator) - before, trio.current_time()
            nursery.cancel_scope.cancel()
        ids = [batch.id for batch in emulator.statistics().batches]
    ends = {name: seen.begun[name] + DURATIONS[how].draw(number, 0) for number, name in enumerate(ids, start=1)}
    seconds = sum(max(0.0, min(end, ended) - max(seen.begun[name], begun)) for name, end in ends.items())
    return told(polls, seconds, [at - ends[name] for name, at in seen.ended.items() if at > begun])


async def one_after_the_other(client: BatchOpenAI, model: str) -> None:
    async def ask(text: str) -> None:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])

    while True:
        async with trio.open_nursery() as nursery:
            for number in range(LINES):
                nursery.start_soon(ask, str(number))


class Seen:
    """When batches were created and answered, by their ids."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._news = trio.Event()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "batch_submitted":
            self.begun[event["batch_id"]] = trio.current_time()
        if event["event"] == "batch_completed":
            self.ended[event["batch_id"]] = trio.current_time()
            self._news.set()

    async def wait_for_ends(self, count: int) -> None:
        while len(self.ended) < count:
            self._news = trio.Event()
            await self._news.wait()


def polls_of(emulator: Emulator) -> int:
    calls = emulator.statistics().http_calls
    return calls["batches.retrieve"] + calls.get("batches.list", 0)


def client_of(emulator: Emulator, like: str, seen: Seen) -> BatchOpenAI:
    return BatchOpenAI(
        api_key="any",
        base_url="http://upstream.test/v1",
        provider=like,
        http_client=emulator.http_client(library=http_library(openai.DefaultAsyncHttpxClient).__name__),
        batch_size=LINES,
        batch_event_handler=seen,
    )


def told(polls: int, seconds: float, late: list[float]) -> dict[str, float]:
    return {
        "per_batch_hour": round(polls / seconds * 3_600, 1),
        "late_s": round(fmean(late), 2),
        "latest_s": round(max(late), 1),
        "batches": len(late),
    }


if __name__ == "__main__":
    main()
