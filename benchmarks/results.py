"""What the rounds found, read from the file that they append to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from goals import Goal


class Results:
    """All results of the last run of each contender.

    Args:
        lines: JSON objects, as `rounds.py` writes them. A run begins with round 0: what was there before is forgotten.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._runs: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
        for line in filter(str.strip, lines):
            result = json.loads(line)
            run = self._runs.setdefault(result["measure"], {}).setdefault(result["contender"], {})
            if result["round"] == 0:
                run.clear()
            run[result["round"]] = result

    @classmethod
    def read(cls, path: Path) -> Results:
        return cls(path.read_text().splitlines() if path.exists() else ())

    @property
    def measures(self) -> list[str]:
        return list(self._runs)

    def all(self) -> list[dict[str, Any]]:
        return [each for run in self._runs.values() for rounds in run.values() for each in rounds.values()]

    def contenders(self, measure: str, pattern: str = "*") -> list[str]:
        """Those whose names match, as file names do."""
        return [name for name in self._runs.get(measure, {}) if fnmatchcase(name, pattern)]

    def values(self, measure: str, contender: str, field: str) -> dict[int, float]:
        """By round; empty if it was not measured."""
        rounds = self._runs.get(measure, {}).get(contender, {})
        return {number: result[field] for number, result in rounds.items() if _is_number(result.get(field))}

    def paired(self, goal: Goal, contender: str) -> list[float]:
        """Of each round that all were in: the contender's value, made into what the goal is about."""
        values = self._sums(goal, (contender,), goal.less)
        others = self._sums(goal, goal.against, goal.against_less)
        if not goal.against:
            return list(values.values())
        return [values[number] / others[number] for number in sorted(set(values).intersection(others))]

    def _sums(self, goal: Goal, plus: Sequence[str], minus: Sequence[str]) -> dict[int, float]:
        """By round: the values of some contenders, added up, less those of others."""
        added = [self.values(goal.measure, name, goal.field) for name in plus]
        taken = [self.values(goal.measure, name, goal.field) for name in minus]
        if not added:
            return {}
        rounds = sorted(set(added[0]).intersection(*added, *taken))
        return {n: sum(each[n] for each in added) - sum(each[n] for each in taken) for n in rounds}

    def fields(self, measure: str) -> list[str]:
        """The names of all numbers in a measure's results, in their order."""
        results = [each for each in self.all() if each["measure"] == measure]
        names = dict.fromkeys(name for each in results for name, value in each.items() if _is_number(value))
        return [name for name in names if name != "round"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
