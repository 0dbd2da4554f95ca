"""What the benchmarks are to show: one line for each goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A limit for one number of a measure; told without a verdict if there is none.

    Attributes:
        contender: whose; a pattern, for each one that matches.
        less: the numbers of these are taken off first.
        against: the number is divided by the sum of these contenders' in the same round. Without them it is absolute.
        against_less: what is taken off that sum.
    """

    measure: str
    field: str
    contender: str
    against: Sequence[str] = ()
    less: Sequence[str] = ()
    against_less: Sequence[str] = ()
    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, value: float) -> bool | None:
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


_OLDER = ("autobatcher-0.6.0",)
_TASKS = ("tasks-asyncio",)

GOALS = (
    Goal("facade", "cpu_us", "ours*-asyncio", _OLDER, at_most=0.4),
    Goal("facade", "cpu_us", "ours*-trio", _OLDER, at_most=0.5),
    Goal("facade", "cpu_us", "ours*-asyncio", ("floor",), less=("tasks-asyncio",), at_most=3),
    Goal("facade", "cpu_us", "ours*-trio", ("floor",), less=("tasks-trio",), at_most=3),
    Goal("facade", "peak_kb", "ours*-asyncio", _OLDER, at_most=0.5),
    Goal("facade", "peak_kb", "ours*-trio", _OLDER),
    Goal("facade", "peak_kb", "ours*-asyncio", _OLDER, less=_TASKS, against_less=_TASKS),
    Goal("growth", "cpu_us", "ours-asyncio-100000", ("ours-asyncio-1000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-asyncio-100000", ("ours-asyncio-10000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-trio-100000", ("ours-trio-1000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-trio-100000", ("ours-trio-10000",), at_most=1.15),
    Goal("journal", "per_s", "journal-asyncio", ("off-asyncio",), at_least=0.8),
    Goal("journal", "per_s", "journal-trio", ("off-trio",), at_least=0.8),
    Goal("journal", "cpu_us", "journal-asyncio", ("off-asyncio",)),
    Goal("journal", "cpu_us", "journal-trio", ("off-trio",)),
    Goal("latency", "excess_ms", "ours*", at_most=50),
    Goal("latency", "longest_block_ms", "ours*", at_most=50),
    Goal("latency", "first_byte_ms", "ours*", at_most=20),
    Goal("proxy", "cpu_us", "ours", _OLDER, at_most=0.85),
    Goal("waiting", "kb_each", "ours", _OLDER, at_most=1.0),
    Goal("waiting", "longest_stall_ms", "ours", at_most=50),
    Goal("transfer", "extra_mb", "ours-upload", at_most=32),
    Goal("transfer", "extra_mb", "ours-download", at_most=32),
    Goal("transfer", "mb_per_s", "ours-upload", ("httpx-upload",), at_least=0.75),
    Goal("transfer", "mb_per_s", "ours-download", ("httpx-download",), at_least=0.52),
    Goal("transfer", "mb_per_s", "ours-download-prose", ("httpx-download",)),
    Goal("deadlines", "in_time", "ours*", at_least=99),
    Goal("deadlines", "discount", "ours-flex*", at_least=95),
    Goal("deadlines", "paid_twice", "ours*", at_most=0),
    *(
        Goal("polls", field, f"ours-*-{how}", (f"alone-{how}",), at_most=most)
        for how in ("moving", "still", "alike")
        for field, most in (("per_batch_hour", 0.2), ("late_s", 1.15))  # a mean of a hundred random waits
    ),
    Goal("fleet", "per_s", "postgres-1", ("off-1",), at_least=0.7),
    Goal("fleet", "per_s", "postgres-1", ("sqlite-1",)),
    Goal("fleet", "per_s", "postgres-2", ("postgres-1",)),  # 1.7 where there are cores for all of them
    Goal("fleet", "per_s", "postgres-3", ("postgres-1",)),
    Goal("imports", "ms", "import-autobatcher", ("import-openai",), at_most=1.2),
)
