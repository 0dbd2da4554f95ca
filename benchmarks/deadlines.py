"""Who keeps a deadline, and what for: calls with deadlines from 5 minutes to 24 hours, on virtual time.

    python benchmarks/deadlines.py [--rounds N] [--count N]
    python benchmarks/deadlines.py --one ours-openai --round 0

Batches, flex and real-time calls take as long as `tests/deadline_world.py` says; each round is another day.

    never      a batch, whatever the deadline
    always     real time
    hedge      a batch; what is open at half of its deadline is sent in real time, too, and nothing is cancelled
    ours       deadline=..., lanes=("batch", "realtime"); ours-flex: the flex lane, too
    oracle     the same two lanes, by somebody who knows beforehand how long each takes; oracle-flex: all three

All in per cent of the calls: `in_time`; `discount` is what was not billed at full price; `paid_twice`; `cost`, where
100 is that of real time alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import trio
from rounds import Contender, argument_parser, run_rounds
from spent import versions
from trio.testing import MockClock

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator
from autobatcher.upstream.failures import http_library

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.deadline_world import (
    LINES_OF_A_BATCH,
    POLL_SECONDS,
    WINDOW_SECONDS,
    Call,
    Result,
    added_up,
    calls_of_a_day,
    live_through,
    oracle,
    provider,
)

Answer = Callable[[Call], Awaitable[bool]]
PROVIDERS = ("openai", "doubleword")
AFTER_ALL_BATCHES_SECONDS = 30 * 86_400.0
"""Batches that nobody cancels go on, and are billed."""


def main() -> None:
    options = _options()
    if options.one is None:
        arguments = ["--count", str(options.count), "--days", str(options.days)]
        contenders = [Contender(f"{name}-{like}", arguments=arguments) for like in PROVIDERS for name in NAMES]
        run_rounds(__file__, "deadlines", contenders, options)
    else:
        name, _, like = options.one.rpartition("-")
        print(json.dumps(measure(name, like, options.days, options.count) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__, rounds=1)
    parser.add_argument("--count", type=int, default=600, help="calls a day")
    parser.add_argument("--days", type=int, default=3, help="each with other deadlines and durations")
    parser.add_argument("--one", metavar="NAME-PROVIDER", help="measure this one once, here")
    return parser.parse_args()


def measure(name: str, like: str, days: int, count: int) -> dict[str, float]:
    result = added_up(one_day(name, like, seed, calls_of_a_day(seed, count)) for seed in range(days))
    shares = {
        "in_time": result.in_time_share,
        "discount": result.discount_share,
        "paid_twice": result.paid_twice_share,
        "cost": result.cost_share,
    }
    return {"calls": len(result.calls), **{field: round(100 * share, 2) for field, share in shares.items()}}


def one_day(name: str, like: str, seed: int, calls: list[Call]) -> Result:
    if name in ORACLES:
        return oracle(calls, like, ORACLES[name], seed)
    return trio.run(live, name, like, seed, calls, clock=MockClock(autojump_threshold=0))


async def live(name: str, like: str, seed: int, calls: list[Call]) -> Result:
    settings: dict[str, Any] = {"like": like, **provider(like, seed)}
    with Emulator(**settings) as emulator:
        async with STRATEGIES[name](emulator, like) as answer:
            result = await live_through(calls, answer)
        await trio.sleep(AFTER_ALL_BATCHES_SECONDS)
        result.bill(emulator.ledger())
        return result


@asynccontextmanager
async def never(emulator: Emulator, like: str) -> AsyncIterator[Answer]:
    async with client_of(emulator, like, lanes="batch", cancel_abandoned_batches=False) as client:
        yield lambda call: by_deadline(client, call)


@asynccontextmanager
async def always(emulator: Emulator, like: str) -> AsyncIterator[Answer]:
    async with client_of(emulator, like, lanes="realtime") as client:
        yield lambda call: by_deadline(client, call)


@asynccontextmanager
async def hedge(emulator: Emulator, like: str) -> AsyncIterator[Answer]:
    """Both calls go on until one has an answer. The batch goes on in any case: its other lines are needed."""
    async with client_of(emulator, like, cancel_abandoned_batches=False) as client:

        async def answer(call: Call) -> bool:
            with trio.move_on_after(call.deadline):
                async with trio.open_nursery() as nursery:

                    async def first_of_both(asked: openai.AsyncOpenAI) -> None:
                        await ask(asked, call)
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(first_of_both, client)
                    await trio.sleep(call.deadline / 2)
                    nursery.start_soon(first_of_both, client.unbatched)
                return True
            return False

        yield answer


@asynccontextmanager
async def ours(emulator: Emulator, like: str) -> AsyncIterator[Answer]:
    async with client_of(emulator, like, lanes="batch,realtime") as client:
        yield lambda call: by_deadline(client, call)


@asynccontextmanager
async def ours_flex(emulator: Emulator, like: str) -> AsyncIterator[Answer]:
    async with client_of(emulator, like, lanes="batch,flex,realtime") as client:
        yield lambda call: by_deadline(client, call)


Strategy = Callable[[Emulator, str], AbstractAsyncContextManager[Answer]]

STRATEGIES: dict[str, Strategy] = {
    "never": never,
    "always": always,
    "hedge": hedge,
    "ours": ours,
    "ours-flex": ours_flex,
}
ORACLES = {"oracle": ("batch", "realtime"), "oracle-flex": ("batch", "flex", "realtime")}
NAMES = (*STRATEGIES, *ORACLES)


def client_of(emulator: Emulator, like: str, **settings: Any) -> BatchOpenAI:
    return BatchOpenAI(
        api_key="any",
        base_url="http://upstream.test/v1",
        provider=like,
        http_client=emulator.http_client(library=http_library(openai.DefaultAsyncHttpxClient).__name__),
        batch_size=LINES_OF_A_BATCH,
        batch_window_seconds=WINDOW_SECONDS,
        poll_interval_seconds=POLL_SECONDS,
        **settings,
    )


async def by_deadline(client: BatchOpenAI, call: Call) -> bool:
    with client.deadline(call.deadline):
        try:
            await ask(client, call)
        except openai.APIError:
            return False
        return True


async def ask(client: openai.AsyncOpenAI, call: Call) -> None:
    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": call.text}])


if __name__ == "__main__":
    main()
