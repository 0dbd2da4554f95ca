"""Custom ids that come twice in an input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .input_lines import BadLine, InputLine
from .known_ids import KnownIds

MOST_SHOWN = 10

Lines = Iterable[InputLine | BadLine]


class Duplicate(NamedTuple):
    """A custom id, and the numbers of two lines that have it."""

    custom_id: str
    first: int
    second: int


class Survey(NamedTuple):
    """What an input has.

    Attributes:
        lines: how many calls.
        bad: how many lines that are none.
        duplicates: the first few.
    """

    lines: int
    bad: int
    duplicates: list[Duplicate]


def survey(read: Callable[[], Lines], check: Callable[[InputLine], BadLine | None], on_bad: Callable[[BadLine], None],
           ) -> Survey:  # fmt: skip
    """Read an input once; twice if a custom id comes twice.

    Args:
        read: reads the input from its start.
        check: what is wrong with a line that can be read.
        on_bad: is told of each line that is no call.
    """
    ids, suspects, count, bad = KnownIds(), dict[str, int](), 0, 0
    for line in read():
        wrong = line if isinstance(line, BadLine) else check(line)
        if wrong is not None:
            bad += 1
            on_bad(wrong)
        if isinstance(line, InputLine):
            count += wrong is None
            if not ids.add(line.custom_id) and len(suspects) < MOST_SHOWN:
                suspects.setdefault(line.custom_id, line.number)
    return Survey(count, bad, _firsts(read(), suspects) if suspects else [])


def _firsts(lines: Lines, seconds: dict[str, int]) -> list[Duplicate]:
    """Find the lines that had these ids first. An id with the digest of another one has none."""
    found: dict[str, Duplicate] = {}
    for line in lines:
        if isinstance(line, InputLine) and line.number < seconds.get(line.custom_id, 0) and line.custom_id not in found:
            found[line.custom_id] = Duplicate(line.custom_id, line.number, seconds[line.custom_id])
            if len(found) == len(seconds):
                break
    return sorted(found.values(), key=lambda each: each.second)
