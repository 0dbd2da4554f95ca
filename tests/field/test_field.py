"""How the field's cells are counted and told, and that the page has all of them. `nox -s field` makes them."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.field.cell import Cell, count, in_words, shortcomings
from tests.field.faults import BAD_DAYS, CALLERS, BadDay
from tests.field.page import PAGE, write
from tests.field.peers import OURS, PEERS
from tests.field.run import run_day

DAY = BadDay(name="a day")
TEXTS = [text for _, text in DAY.prompts]
ANSWERS = {text: f"You said {text}" for text in TEXTS}
ONCE = Counter(TEXTS)


def without(answers: dict[str, str], number: int) -> dict[str, str]:
    """The answers of all but the last callers."""
    return dict(list(answers.items())[: CALLERS - number])


def test_who_is_answered_and_billed_once_is_all_that_is_owed() -> None:
    cell = count(DAY, ANSWERS, {}, ONCE, 1.0)
    assert in_words(DAY, cell) == "all"
    assert shortcomings(DAY, cell) == []


@pytest.mark.parametrize(
    ("cell", "words", "wanting"),
    [
        (count(DAY, ANSWERS, {}, ONCE + Counter(TEXTS[:3]), 1.0), "all, **3 paid twice**", 1),
        (
            count(DAY, without(ANSWERS, 2), {TEXTS[-1]: "E: no", TEXTS[-2]: "E: no"}, ONCE, 1.0),
            "18 answered, 2 errors, 2 paid for nothing",
            1,
        ),
        (count(DAY, without(ANSWERS, 1), {}, Counter(TEXTS[:-1]), 1.0), "19 answered, 1 nothing", 3),
        (
            count(DAY, {**ANSWERS, TEXTS[0]: "You said something else"}, {}, ONCE, 1.0),
            "19 answered, **1 wrong**, 1 paid for nothing",
            2,
        ),
        (Cell(failure="exit code 1"), "the program failed: exit code 1", 1),
    ],
)
def test_what_falls_short_is_told(cell: Cell, words: str, wanting: int) -> None:
    assert in_words(DAY, cell) == words
    assert len(shortcomings(DAY, cell)) == wanting


def test_callers_who_left_pay_for_what_had_run_at_most() -> None:
    day = replace(DAY, owed=0, billed=None)
    assert shortcomings(day, count(day, {}, {}, Counter(TEXTS[:3]), 1.0)) == []
    assert shortcomings(day, count(day, {}, {}, ONCE, 1.0))


def test_the_page_has_a_row_for_each_day_and_a_column_for_each_library() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n|  | {' | '.join(PEERS)} |\n" in text
    for day in BAD_DAYS:
        assert f"\n| {day.name} | " in text, "run `nox -s field`"
    installed = (PAGE.parents[1] / "noxfile.py").read_text(encoding="utf-8")
    assert [name for name in PEERS if f'\n    "{name}": ' not in installed] == []


def test_tables_take_the_place_of_the_last_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before <!-- results --> old <!-- /results --> after", encoding="utf-8")
    cells = {day.name: vars(Cell(right=CALLERS, once=CALLERS)) for day in BAD_DAYS}
    found: dict[str, Any] = {"version": "1", "lines": 9, "distributions": 2, "cells": cells}
    write(page, {OURS: found, "inspect-ai": found}, date(2026, 11, 26))
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert "26 November 2026" in text
    assert "run again | all | not offered; run again: all |" in text


@pytest.mark.real_time
def test_a_lost_answer_costs_our_callers_nothing() -> None:
    day = next(day for day in BAD_DAYS if "answer to `POST" in day.name)
    cell = run_day(PEERS[OURS], Path(sys.executable), replace(day, batch_seconds=0.2))
    assert shortcomings(day, cell) == []
