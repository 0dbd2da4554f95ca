"""Does one item cost more where there are ten times as many? Each door is measured at n and 10 n.

    python benchmarks/growth.py [--limit 1.2] [--cpu-limit 2.5] [--only PART-OF-A-NAME] [--rounds 3] [--scale 1]

Steps are instructions of Python and SQLite for each item, the same on any machine: a ratio beyond `--limit` fails. CPU
is the least of some rounds. Ten times as many things are less often in a processor's caches, so `--cpu-limit` is
higher; it finds what steps cannot see, since it is written in C, and grows tenfold. `--scale 20` has a hundred thousand
of most things, without the garbage collector, and takes an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from growth_calls import CAPPED, HURRIED, body, calls, proxy_calls
from growth_parts import (
    batches_known,
    equal_lines_claimed,
    journal_opened,
    journal_swept,
    lines_forgotten,
    new_path,
    open_windows,
    throttled_kinds,
    throttled_requests,
    waiting_for_room,
)
from steps import cpu_seconds, steps

TIMES = 10
"""How many times as many there are."""


@dataclass(frozen=True)
class Door:
    """A place where there may be a hundred thousand of something.

    Attributes:
        name: what there are many of, and what happens to them.
        few: how many in the smaller world.
        work: makes a world of so many, and returns the work to measure in it.
        is_one_event: whether that is one event among so many; else it is something that happens to each of them.
    """

    name: str
    few: int
    work: Callable[[int], Callable[[], Any]]
    is_one_event: bool = False


PARTS: tuple[Door, ...] = (
    Door("kinds that wait, one wake for each", 500, open_windows),
    Door("throttled kinds of as many callers", 500, throttled_kinds),
    Door("throttled requests of one kind", 500, throttled_requests),
    Door("callers that wait for room", 500, waiting_for_room),
    Door("accounts that wait for room", 500, lambda count: waiting_for_room(count, accounts=count)),
    Door("unclaimed lines, a step of the hourly sweep", 2_000, lines_forgotten, is_one_event=True),
    Door("equal unclaimed lines, claimed", 2_000, equal_lines_claimed),
    Door("journal after a good end, opened", 5_000, partial(journal_opened, is_taken=True)),
    Door("journal with unclaimed lines, opened", 5_000, partial(journal_opened, is_taken=False)),
    Door("journal after a good end, swept", 5_000, journal_swept),
    Door("batches that a display knows", 500, batches_known),
)
"""In steps, too, which takes fifty times as long."""

CALLS: tuple[Door, ...] = (
    Door("calls", 1_000, calls),
    Door("calls in a full queue", 1_000, partial(calls, max_queued_bytes=30_000)),
    Door("calls with deadlines", 500, partial(calls, **HURRIED)),
    Door("calls under a cap", 1_000, partial(calls, **CAPPED)),
    Door("calls with a journal", 1_000, lambda count: calls(count, journal=new_path())),
    Door("batches of one call", 100, partial(calls, batch_size=1)),
    Door("models, one call each", 100, lambda count: calls(count, models=count)),
    Door("models, one call with a deadline each", 100, lambda count: calls(count, models=count, **HURRIED)),
    Door("calls of a proxy", 500, partial(proxy_calls, body_of=body)),
    Door("equal calls of a proxy", 500, partial(proxy_calls, body_of=lambda number: body(0))),
    Door("callers of a proxy, one call each", 100, lambda count: proxy_calls(count, callers=count, body_of=body)),
)


class Growth(NamedTuple):
    """What an item costs in two sizes, in steps or in seconds of CPU."""

    few: float
    many: float

    @property
    def ratio(self) -> float:
        return self.many / self.few

    def told(self, form: str, times: float = 1.0) -> str:
        return f"{self.few * times:{form}} {self.many * times:{form}} {self.ratio:6.2f}"


def main() -> int:
    options = _options()
    print(f"{'door':44} {'n':>7} {'steps':>7} {'10 n':>7} {'ratio':>6} {'CPU us':>7} {'10 n':>7} {'ratio':>6}")
    doors = [door for door in (*PARTS, *CALLS) if (options.only or "") in door.name]
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # where doors put their files
        failed = [door.name for door in doors if not _is_flat(door, options)]
    for name in failed:
        print(f"The cost of one item grows: {name}", file=sys.stderr)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=1.2)
    parser.add_argument("--cpu-limit", type=float, default=2.5)
    parser.add_argument("--only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1, help="how many times as many of everything")
    return parser.parse_args()


def _is_flat(door: Door, options: argparse.Namespace) -> bool:
    """Measure a door and print its row. Returns whether it is within the limits."""
    few: int = door.few * options.scale
    door.work(10)()  # imports, and whatever else is done once
    in_steps = _growth(door, few, steps, 1) if door in PARTS else None
    in_seconds = _growth(door, few, cpu_seconds, options.rounds)
    told = in_steps.told("7,.0f") if in_steps else " " * 22
    print(f"{door.name:44} {few:7,} {told} {in_seconds.told('7.1f', 1e6)}", flush=True)
    is_flat: bool = in_steps is None or in_steps.ratio <= options.limit
    return is_flat and in_seconds.ratio <= float(options.cpu_limit)


def _growth(door: Door, few: int, cost_of: Callable[[Callable[[], Any]], float], rounds: int) -> Growth:
    return Growth(*(_cost(door, count, cost_of, rounds) for count in (few, TIMES * few)))


def _cost(door: Door, count: int, cost_of: Callable[[Callable[[], Any]], float], rounds: int) -> float:
    """What one of so many items costs: the least of some rounds, each with a world of its own."""
    return min(cost_of(door.work(count)) for _ in range(rounds)) / (1 if door.is_one_event else count)


if __name__ == "__main__":
    sys.exit(main())
