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


NUMBERS = {
    ("facade", "cpu_us"): "CPU time of a call, 50,000 at once",
    ("facade", "wall_s"): "time until 50,000 calls in 50 batches are answered",
    ("facade", "longest_gc_ms"): "longest garbage collection meanwhile",
    ("facade", "peak_kb"): "memory of a call that waits",
    ("growth", "cpu_us"): "CPU time of a call, by how many there are",
    ("calls", "cpu_us"): "CPU time of a call, 100,000 at once, or (sequential) one after the other",
    ("threads", "cpu_us"): "CPU time of a call of `BatchOpenAISync`, 2,000 threads",
    ("journal", "per_s"): "calls a second",
    ("journal", "cpu_us"): "CPU time of a call",
    ("latency", "excess_ms"): "delay of an answer beyond the polls' own",
    ("latency", "longest_block_ms"): "longest block of the event loop",
    ("latency", "first_byte_ms"): "from a full window to the upload's first byte",
    ("proxy", "cpu_us"): "CPU time of a request through `serve`",
    ("waiting", "kb_each"): "memory of a request that waits in `serve`",
    ("waiting", "longest_stall_ms"): "longest stall of its loop, 10,000 waiting",
    ("transfer", "extra_mb"): "memory taken by a transfer of 200 MB",
    ("transfer", "mb_per_s"): "speed of a transfer of 200 MB",
    ("deadlines", "in_time"): "calls in time, percent",
    ("deadlines", "discount"): "discount kept, percent",
    ("deadlines", "paid_twice"): "calls paid twice",
    ("polls", "per_batch_hour"): "polls of a batch in an hour",
    ("polls", "late_s"): "from a batch's end until it is seen",
    ("fleet", "per_s"): "requests a second of all replicas",
    ("imports", "ms"): "time of the import",
}
"""What each number is."""

_OLDER = ("autobatcher-0.6.0",)
_TASKS = ("tasks-asyncio",)
_KINDS = ("embeddings", "responses", "parse", "responses-parse")
_CALLS = [f"{kind}{ending}" for kind in _KINDS for ending in ("", "-sequential")]

GOALS = (
    Goal("facade", "cpu_us", "ours*-asyncio", _OLDER, at_most=0.52),
    Goal("facade", "cpu_us", "ours*-trio", _OLDER, at_most=0.6),
    Goal("facade", "cpu_us", "ours*-asyncio", ("floor",), less=("tasks-asyncio",), at_most=3),
    Goal("facade", "cpu_us", "ours*-trio", ("floor",), less=("tasks-trio",), at_most=3),
    Goal("facade", "wall_s", "ours*", _OLDER, at_most=0.6),
    Goal("facade", "longest_gc_ms", "ours*-asyncio", _TASKS, at_most=1.1),
    Goal("facade", "longest_gc_ms", "ours*-trio", ("tasks-trio",), at_most=1.1),
    Goal("facade", "peak_kb", "ours*-asyncio", _OLDER, at_most=0.5),
    Goal("facade", "peak_kb", "ours*-trio", _OLDER),
    Goal("facade", "peak_kb", "ours*-asyncio", _OLDER, less=_TASKS, against_less=_TASKS),
    Goal("growth", "cpu_us", "ours-asyncio-100000", ("ours-asyncio-1000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-asyncio-100000", ("ours-asyncio-10000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-trio-100000", ("ours-trio-1000",), at_most=1.15),
    Goal("growth", "cpu_us", "ours-trio-100000", ("ours-trio-10000",), at_most=1.15),
    *(Goal("calls", "cpu_us", f"ours-{kind}", (f"{_OLDER[0]}-{kind}",), at_most=0.8) for kind in _CALLS),
    *(Goal("threads", "cpu_us", f"ours-{calls}", (f"openai-{calls}",), at_most=1.2) for calls in (1, 5)),
    Goal("journal", "per_s", "journal-asyncio", ("off-asyncio",), at_least=0.9),
    Goal("journal", "per_s", "journal-trio", ("off-trio",), at_least=0.9),
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
