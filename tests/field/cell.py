"""What one library made of one bad day, counted and in words: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .faults import CALLERS, BadDay


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Callers by what they got, and prompts by what was billed.

    Attributes:
        right, wrong, errors, nothing: callers with their own answer, another's, an error; without any.
        once, more: prompts that were billed once, or more often.
        for_nothing: prompts that were billed and whose callers have no answer of their own.
        failure: why the process told nothing.
    """

    right: int = 0
    wrong: int = 0
    errors: int = 0
    nothing: int = 0
    once: int = 0
    more: int = 0
    for_nothing: int = 0
    seconds: float = 0.0
    reason: str = ""
    failure: str = ""

    @property
    def billed(self) -> int:
        return self.once + self.more


def count(
    day: BadDay, answers: Mapping[str, str], errors: Mapping[str, str], billed: Counter[str], seconds: float
) -> Cell:
    """A cell, from answers and errors by prompt, and how often each prompt was billed."""
    texts = [text for _, text in day.prompts]
    right = {text for text in texts if text in answers.get(text, "")}
    return Cell(
        right=len(right),
        wrong=len(answers) - len(right),
        errors=len(errors),
        nothing=len(texts) - len(answers) - len(errors),
        once=sum(billed[text] == 1 for text in texts),
        more=sum(billed[text] > 1 for text in texts),
        for_nothing=sum(billed[text] > 0 for text in set(texts) - right),
        seconds=round(seconds, 1),
        reason=next(iter(errors.values()), "")[:300],
    )


def shortcomings(day: BadDay, cell: Cell) -> list[str]:
    """In what a library falls short of what autobatcher owes its callers on such a day."""
    if cell.failure:
        return [cell.failure]
    if day.billed is None:
        return ["all was billed, though nobody waited"] * (cell.billed == CALLERS) + _billed_again(cell)
    missing = day.owed - cell.right
    found = [f"{missing} of {day.owed} have no answer of their own: {cell.reason}"] * (missing > 0)
    found += [f"{cell.wrong} have another's answer"] * (cell.wrong > 0)
    found += [f"{cell.nothing} have nothing after {day.limit_seconds:g} seconds"] * (cell.nothing > day.may_wait)
    found += [f"{cell.billed} prompts were billed, not {day.billed}"] * (cell.billed != day.billed)
    return found + _billed_again(cell)


def _billed_again(cell: Cell) -> list[str]:
    return [f"{cell.more} prompts were billed more than once"] * (cell.more > 0)


def in_words(day: BadDay, cell: Cell) -> str:
    """The cell of a table."""
    if cell.failure:
        return f"the program failed: {cell.failure}"
    if day.billed is None:
        return f"{cell.billed} billed"
    said = ["all" if cell.right == CALLERS else f"{cell.right} answered"]
    said += [f"**{cell.wrong} wrong**"] * (cell.wrong > 0)
    said += [f"{cell.errors} error{'s' * (cell.errors > 1)}"] * (cell.errors > 0)
    said += [f"{cell.nothing} nothing"] * (cell.nothing > 0)
    said += [f"**{cell.more} paid twice**"] * (cell.more > 0)
    said += [f"{cell.for_nothing} paid for nothing"] * (cell.for_nothing > 0)
    return ", ".join(said)
