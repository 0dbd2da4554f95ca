"""What each change runs of a test with many combinations."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from tests.sampling import sample

VALUES = {"backend": ("asyncio", "trio"), "fault": tuple("abcdefgh"), "door": ("library", "proxy"), "like": ("x", "y")}
ALL = [dict(zip(VALUES, values, strict=True)) for values in product(*VALUES.values())]


@pytest.mark.parametrize("strength", [1, 2])
def test_a_sample_meets_all_tuples_of_values_and_is_much_smaller(strength: int) -> None:
    taken = [ALL[number] for number in sample(ALL, strength)]
    for names in combinations(VALUES, strength):
        met = {tuple(each[name] for name in names) for each in taken}
        assert met == set(product(*(VALUES[name] for name in names)))
    assert len(taken) <= len(ALL) / 3


def test_a_sample_is_the_same_in_every_worker() -> None:
    assert sample(ALL, 2) == sample(ALL, 2)
