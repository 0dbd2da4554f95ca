"""What to do with a batch when its life ends: a table of all combinations that can occur."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from autobatcher.engine.batch.phase import Cause, Disposition, Ending, Phase, disposition

CANCEL, LEAVE, FINISHED, FORGET = Disposition


class Case(NamedTuple):
    phase: Phase
    cause: Cause
    ending: Ending
    journal: str
    has_unread_lines: bool
    cancels_abandoned: bool
    cancels_on_close: bool


NO, HASHES, ANSWERS = "none", "hashes", "answers"
JOURNALED = {HASHES, ANSWERS}
ANY = None

RUNS = {Phase.CREATING, Phase.RUNNING}
STOPS = {Ending.WELL, Ending.BADLY, Ending.FOR_RERUN}

# phase, cause, ending, journal, unread lines, cancels abandoned, cancels on close -> disposition.
# The first matching row counts.
TABLE = [
    # Nothing was created.
    ({Phase.QUEUED, Phase.UPLOADING}, ANY, ANY, ANY, ANY, ANY, ANY, FORGET),
    # The batch has ended.
    ({Phase.READ}, ANY, ANY, ANY, ANY, ANY, ANY, FINISHED),
    ({Phase.GONE}, ANY, ANY, {ANSWERS}, ANY, ANY, ANY, FINISHED),
    ({Phase.GONE}, ANY, ANY, ANY, ANY, ANY, ANY, FORGET),
    ({Phase.READING}, ANY, ANY, ANY, {True}, ANY, ANY, LEAVE),
    ({Phase.READING}, ANY, ANY, ANY, {False}, ANY, ANY, FINISHED),
    # Nothing more can be done.
    ({Phase.CANCELLED, Phase.UNCONFIRMED}, ANY, ANY, ANY, ANY, ANY, ANY, LEAVE),
    # The batch may be running, and is past its deadline.
    (RUNS, {Cause.OVERDUE}, ANY, ANY, ANY, ANY, ANY, CANCEL),
    # It may be running, and another engine has sent its requests again.
    (RUNS, {Cause.DOUBLED}, ANY, JOURNALED, ANY, ANY, ANY, CANCEL),
    # The engine keeps running.
    (RUNS, {Cause.ABANDONED}, {Ending.NOT_YET}, ANY, ANY, {True}, ANY, CANCEL),
    (RUNS, {Cause.FAILED}, {Ending.NOT_YET}, JOURNALED, ANY, ANY, ANY, LEAVE),
    ({Phase.CREATING}, {Cause.FAILED}, {Ending.NOT_YET}, {NO}, ANY, ANY, ANY, CANCEL),
    ({Phase.RUNNING}, {Cause.FAILED}, {Ending.NOT_YET}, {NO}, ANY, {True}, ANY, CANCEL),
    ({Phase.RUNNING}, {Cause.FAILED}, {Ending.NOT_YET}, {NO}, ANY, {False}, {True}, CANCEL),
    ({Phase.RUNNING}, {Cause.FAILED}, {Ending.NOT_YET}, {NO}, ANY, {False}, {False}, LEAVE),
    # The engine stops, and a journal has the batch.
    (RUNS, ANY, {Ending.FOR_RERUN}, JOURNALED, ANY, ANY, ANY, LEAVE),
    (RUNS, ANY, {Ending.BADLY}, JOURNALED, ANY, ANY, {True}, CANCEL),
    (RUNS, ANY, {Ending.BADLY}, JOURNALED, ANY, ANY, {False}, LEAVE),
    (RUNS, ANY, {Ending.WELL}, JOURNALED, ANY, ANY, {True}, CANCEL),
    (RUNS, {Cause.ABANDONED}, {Ending.WELL}, JOURNALED, ANY, {True}, ANY, CANCEL),
    (RUNS, ANY, {Ending.WELL}, JOURNALED, ANY, ANY, ANY, LEAVE),
    # The engine stops, and nobody can find the batch again.
    (RUNS, ANY, STOPS, {NO}, ANY, ANY, {True}, CANCEL),
    ({Phase.CREATING}, ANY, STOPS, {NO}, ANY, ANY, ANY, CANCEL),
    ({Phase.RUNNING}, {Cause.ABANDONED, Cause.FAILED}, STOPS, {NO}, ANY, {True}, ANY, CANCEL),
    ({Phase.RUNNING}, ANY, STOPS, {NO}, ANY, ANY, ANY, LEAVE),
]


def can_occur(case: Case) -> bool:
    """Whether a batch can end like this."""
    runs_on = case.ending is Ending.NOT_YET
    if case.cause is Cause.STOPPED and runs_on:
        return False
    if case.cause is Cause.LOST:
        return False  # its record is another engine's, who decides
    if case.cause is Cause.DOUBLED and (case.journal is NO or case.phase not in RUNS):
        return False  # what was executed is read, and what was not created is forgotten
    if case.cause is Cause.OVER and case.phase in RUNS | {Phase.CANCELLED, Phase.UNCONFIRMED}:
        return False  # a batch that may be running ends for another reason
    if case.cause is Cause.OVERDUE and case.phase not in {Phase.RUNNING, Phase.CANCELLED, Phase.UNCONFIRMED}:
        return False
    if case.cause is Cause.ABANDONED and runs_on and not case.cancels_abandoned:
        return False
    return not (case.cause is Cause.FAILED and case.phase in {Phase.READ, Phase.GONE})


CASES = [
    case
    for fields in itertools.product(
        Phase, Cause, Ending, (NO, HASHES, ANSWERS), (False, True), (False, True), (False, True)
    )
    if can_occur(case := Case(*fields))
]


def expected(case: Case) -> Disposition:
    for *conditions, what in TABLE:
        if all(allowed is ANY or value in allowed for allowed, value in zip(conditions, case, strict=True)):
            assert isinstance(what, Disposition)
            return what
    raise AssertionError(f"the table has no row for {case}")


def decided(case: Case) -> Disposition:
    return disposition(
        case.phase,
        case.cause,
        case.ending,
        is_journaled=case.journal != NO,
        keeps_answers=case.journal == ANSWERS,
        has_unread_lines=case.has_unread_lines,
        cancels_abandoned=case.cancels_abandoned,
        cancels_on_close=case.cancels_on_close,
    )


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.name)
def test_every_combination_that_can_occur_is_decided_as_the_table_says(phase: Phase) -> None:
    cases = [case for case in CASES if case.phase is phase]
    assert cases
    assert [(case, decided(case)) for case in cases] == [(case, expected(case)) for case in cases]


def test_every_row_of_the_table_is_needed() -> None:
    used = set()
    for case in CASES:
        for number, (*conditions, _) in enumerate(TABLE):
            if all(allowed is ANY or value in allowed for allowed, value in zip(conditions, case, strict=True)):
                used.add(number)
                break
    assert used == set(range(len(TABLE)))


def test_what_a_rerun_needs_is_never_cancelled_unless_its_time_is_over_or_it_is_doubled() -> None:
    kept = [case for case in CASES if case.journal != NO and case.ending is Ending.FOR_RERUN]
    assert {case.cause for case in kept if decided(case) is CANCEL} == {Cause.OVERDUE, Cause.DOUBLED}
