"""A session: visits of each target in turn, rounds in each visit, and what is done with a finding."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random, SystemRandom

from .findings import Finding
from .shrinking import shrunk
from .target import Case, Play, Target
from .watch import Watch

FIXED_SEEDS = (1,)
"""Each target's first round is the same in every session. All others are fresh, and each visit has one at least."""

VISIT_SECONDS = 60.0
SHRINK_SECONDS = 20.0
SHOWN_CHARACTERS = 3000
UNWELL = ("emulator", "health", "hang", "crash", "stall")


@dataclass
class Session:
    """Runs targets, and tells what it finds.

    Attributes:
        found: how often each finding came, by its signature.
        rounds: how many rounds each target had.
    """

    watch: Watch
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)

    def run(self, targets: list[Target], seconds: float) -> None:
        """Visit all targets in turn until the time is up; each of them once at least."""
        seeds = {target.name: _seeds() for target in targets}
        deadline = time.monotonic() + seconds
        visit_seconds = min(VISIT_SECONDS, seconds / len(targets))
        while not self.rounds or time.monotonic() + visit_seconds / 2 < deadline:
            for target in targets:
                self._visit(target, seeds[target.name], visit_seconds)

    def repeat(self, target: Target, seed: int) -> None:
        """One round."""
        self._visit(target, iter([seed]), 0.0)

    def _visit(self, target: Target, seeds: Iterator[int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        last: tuple[int, list[Case]] | None = None
        with self.watch.nothing_left_behind(target.name), target.open(self.watch) as play:
            for seed in seeds:
                last = seed, target.cases(Random(f"{target.name} {seed}"))
                is_well = self._round(target, play, *last)
                if not is_well or (time.monotonic() > deadline and self.rounds[target.name] > len(FIXED_SEEDS)):
                    break
        if last is not None:
            self._take(target, *last)

    def _round(self, target: Target, play: Play, seed: int, cases: list[Case]) -> bool:
        """Whether the door is well. If not, the next visit opens it anew."""
        self.rounds[target.name] += 1
        with self.watch.bounded_memory():
            play(cases)
        return all(finding.kind not in UNWELL for finding in self._take(target, seed, cases))

    def _take(self, target: Target, seed: int, cases: list[Case]) -> list[Finding]:
        findings = self.watch.take()
        for finding in findings:
            self.found[finding.signature] += 1
            if self.found[finding.signature] == 1:
                print(f"\n=== {finding.kind}: {finding.where}\n{finding.text}", flush=True)
                print(f"repeat: python -m tests.fuzz --target {target.name} --seed {seed}", flush=True)
                self._show_smallest(target, finding, cases)
        return findings

    def _show_smallest(self, target: Target, finding: Finding, cases: list[Case]) -> None:
        smallest = shrunk(cases, lambda fewer: self._shows(target, finding, fewer), SHRINK_SECONDS)
        alone = "" if len(smallest) < len(cases) else " (fewer did not show it again)"
        print(f"cases: {len(smallest)} of {len(cases)}{alone}")
        for case in smallest[:3]:
            shown = repr(case)
            print(f"  {shown[:SHOWN_CHARACTERS]}{' ...' if len(shown) > SHOWN_CHARACTERS else ''}")

    def _shows(self, target: Target, finding: Finding, cases: list[Case]) -> bool:
        """Whether these cases, before a door that was just opened, show the finding again."""
        with target.open(self.watch) as play, self.watch.bounded_memory():
            play(cases)
        return finding.signature in {again.signature for again in self.watch.take()}


def _seeds() -> Iterator[int]:
    yield from FIXED_SEEDS
    while True:
        yield SystemRandom().randrange(10**9)
