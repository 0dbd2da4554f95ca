"""Which combinations of a test's parameters each change runs: a pytest plugin.

`@pytest.mark.sampled(2)`: of all combinations of the test's parameters, the backend among them, every pair of values
is run at least once. `@pytest.mark.sampled(1)`: every single value is. The rest is marked `nightly`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest

MARK = "sampled"


def mark_unsampled(items: list[pytest.Item]) -> None:
    """Mark as `nightly` what the samples leave out."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker(MARK) is not None:
            tests[item.nodeid.partition("[")[0]].append(item)
    for same_test in tests.values():
        taken = sample([_parameters(item) for item in same_test], _strength(same_test[0]))
        for number, item in enumerate(same_test):
            if number not in taken:
                item.add_marker(pytest.mark.nightly)


def sample(parameters: Sequence[Mapping[str, object]], strength: int) -> set[int]:
    """The numbers of as many combinations as it takes to meet all tuples of `strength` values. Pure.

    Greedy: first those are taken that meet the most new ones. They are looked at in a random order, the same in each
    run, so that values do not always meet the same ones.
    """
    left = [(number, _tuples(each, strength)) for number, each in enumerate(parameters)]
    random.Random(0).shuffle(left)
    taken: set[int] = set()
    met: set[tuple[object, ...]] = set()
    for least in range(max(len(tuples) for _, tuples in left), 0, -1):
        for number, tuples in left:
            if number not in taken and len(tuples - met) >= least:
                met |= tuples
                taken.add(number)
    return taken


def _tuples(parameters: Mapping[str, object], strength: int) -> set[tuple[object, ...]]:
    values = [(name, id(value)) for name, value in sorted(parameters.items(), key=lambda each: each[0])]
    return set(combinations(values, strength))


def _parameters(item: pytest.Item) -> Mapping[str, object]:
    callspec: Any = getattr(item, "callspec", None)
    assert callspec is not None, f"{item.nodeid} has no parameters to take a sample of"
    parameters: dict[str, object] = callspec.params
    return parameters


def _strength(item: pytest.Item) -> int:
    marker = item.get_closest_marker(MARK)
    assert marker is not None
    (strength,) = marker.args
    return int(strength)
