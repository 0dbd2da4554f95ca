"""A day of calls with deadlines, against an emulated provider whose batches take as long as public figures say.

For `tests/engine/test_lane_promises.py` and `benchmarks/deadlines.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from autobatcher.emulator import LogNormal
from autobatcher.emulator.ledger import Billed

SHORTEST_SECONDS, LONGEST_SECONDS = 300.0, 86_400.0
CALLS_IN_A_BURST, BURST_SECONDS = 60, 1_800.0
"""As many calls come together, then none for so long: batches of the first teach what to expect of the next."""

WINDOW_SECONDS = POLL_SECONDS = 30.0
LINES_OF_A_BATCH = 10

HARVEST_SECONDS = 10.0
"""What somebody who knows when a batch ends needs to read it, in seconds."""

CANCELLING_SECONDS = {"openai": 600.0, "doubleword": 60.0}
HALF_PRICE = ("batch", "flex")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the day, in seconds from its begin: it comes at `at`, and is needed `deadline` later."""

    text: str
    at: float
    deadline: float


def calls_of_a_day(seed: int, count: int) -> list[Call]:
    """Calls in bursts. Their deadlines are spread evenly over orders of magnitude."""
    dice = random.Random(seed)
    span = LONGEST_SECONDS / SHORTEST_SECONDS
    return [
        Call(
            f"call {number} of day {seed}",
            number // CALLS_IN_A_BURST * BURST_SECONDS,
            SHORTEST_SECONDS * span ** dice.random(),
        )
        for number in range(count)
    ]


def provider(like: str, seed: int) -> dict[str, Any]:
    """What an `Emulator` takes: half of the batches take less than 7 minutes, nine in ten less than an hour.

    Nobody publishes figures of flex calls; here nine in ten take less than two minutes.
    """
    usual = LogNormal(median_seconds=420, p90_seconds=3_600, seed=seed)
    hurried = LogNormal(median_seconds=300, p90_seconds=1_500, seed=seed)
    return {
        "batch_seconds": {"24h": usual, "1h": hurried} if like == "doubleword" else usual,
        "cancelling_seconds": CANCELLING_SECONDS[like],
        "finished_while_cancelling": 0.3,
        "flex_seconds": LogNormal(median_seconds=30, p90_seconds=120, seed=seed),
        "realtime_seconds": LogNormal(median_seconds=5, p90_seconds=30, seed=seed),
    }


@dataclass(slots=True)
class Result:
    """What became of the calls.

    Attributes:
        in_time: the calls that were answered in time.
        bills: for each call, the lanes on which it was billed.
    """

    calls: Sequence[Call]
    in_time: set[str] = field(default_factory=set)
    bills: dict[str, list[str]] = field(default_factory=dict)

    def bill(self, ledger: Sequence[Billed]) -> None:
        for billed in ledger:
            self.bills.setdefault(billed.text, []).append(billed.lane)

    @property
    def in_time_share(self) -> float:
        return sum(call.text in self.in_time for call in self.calls) / len(self.calls)

    @property
    def discount_share(self) -> float:
        """The share of calls that were answered or missed without anything at full price."""
        return sum("realtime" not in self.bills.get(call.text, ()) for call in self.calls) / len(self.calls)

    @property
    def paid_twice_share(self) -> float:
        return sum(len(self.bills.get(call.text, ())) > 1 for call in self.calls) / len(self.calls)

    @property
    def cost_share(self) -> float:
        """What all of it cost, compared with each call once in real time."""
        billed = Counter(lane for call in self.calls for lane in self.bills.get(call.text, ()))
        return sum(count * (0.5 if lane in HALF_PRICE else 1.0) for lane, count in billed.items()) / len(self.calls)

    def of(self, calls: Sequence[Call]) -> Result:
        """The same of some of the calls."""
        return Result(calls, self.in_time, self.bills)

    def __str__(self) -> str:
        shares = {
            "in time": self.in_time_share,
            "at the discount": self.discount_share,
            "paid twice": self.paid_twice_share,
            "of the full price": self.cost_share,
        }
        return ", ".join(f"{share:.2%} {name}" for name, share in shares.items())


def added_up(results: Iterable[Result]) -> Result:
    """Several days as one."""
    days = list(results)
    bills = {text: lanes for day in days for text, lanes in day.bills.items()}
    return Result([call for day in days for call in day.calls], set().union(*(day.in_time for day in days)), bills)


async def live_through(calls: Sequence[Call], answer: Callable[[Call], Awaitable[bool]]) -> Result:
    """Make each call when it comes. `answer` returns whether there was an answer."""
    result, begun = Result(calls), anyio.current_time()

    async def make(call: Call) -> None:
        await anyio.sleep_until(begun + call.at)
        if await answer(call) and anyio.current_time() <= begun + call.at + call.deadline:
            result.in_time.add(call.text)

    async with anyio.create_task_group() as nursery:
        for call in calls:
            nursery.start_soon(make, call)
    return result


def oracle(calls: Sequence[Call], like: str, lanes: Sequence[str], seed: int) -> Result:
    """What somebody reaches who knows beforehand how long each batch and each call would take.

    Calls go into batches by their deadlines, those with the most time first, so that slow batches do the least harm.
    """
    result, given = Result(calls), provider(like, seed)
    batch_seconds = given["batch_seconds"]
    usual = batch_seconds["24h"] if isinstance(batch_seconds, dict) else batch_seconds
    for number, batch in enumerate(_batches(calls), start=1):
        needed = WINDOW_SECONDS + usual.draw(number, 0) + HARVEST_SECONDS
        for call in batch:
            lane = "batch" if needed <= call.deadline else _lane(call, lanes, given)
            if lane is not None:
                result.in_time.add(call.text)
                result.bills[call.text] = [lane]
    return result


def _batches(calls: Sequence[Call]) -> list[list[Call]]:
    ordered = sorted(calls, key=lambda call: (call.at, -call.deadline))
    batches: list[list[Call]] = []
    for call in ordered:
        if not batches or batches[-1][0].at != call.at or len(batches[-1]) == LINES_OF_A_BATCH:
            batches.append([])
        batches[-1].append(call)
    return batches


def _lane(call: Call, lanes: Sequence[str], given: dict[str, Any]) -> str | None:
    """The cheapest of the other lanes on which the call is answered in time."""
    number = int(call.text.split()[1]) + 1
    for lane in lanes:
        if lane != "batch" and given[f"{lane}_seconds"].draw(number, 0) <= call.deadline:
            return lane
    return None
