"""Three replicas share a journal, and clients come back to whichever answers: nothing is lost or paid twice."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from tests.fleet.clients import Asked
from tests.fleet.diary import Diary
from tests.fleet.events import draw
from tests.fleet.nginx import PROGRAM
from tests.fleet.session import Plan, run
from tests.fleet.upstream import Found
from tests.fleet.verdict import judge, tell_all
from tests.postgres_server import find_programs

NOTHING = Found(billed={}, running=[], input_files=[], batches={}, deeds=[])

needs_servers = pytest.mark.skipif(
    find_programs() is None or not Path(PROGRAM).exists(), reason="PostgreSQL's server or nginx is not installed"
)


@needs_servers
@pytest.mark.real_time
@pytest.mark.nightly
@pytest.mark.timeout(400)
def test_replicas_that_share_no_journal_are_found_guilty(tmp_path: Path) -> None:
    """So that the session that `.ci/run` plays is known to be able to fail."""
    plan = Plan(seed=3, events=8, clients=30, journal="sqlite", longest=5.0, shortens=True)
    verdict = trio.run(run, plan, tmp_path, lambda line: None)
    assert any("billed more than once" in failure for failure in verdict.failures)


def answered(text: str, *answers: str) -> Asked:
    return Asked(text, answers=list(answers))


@pytest.mark.parametrize(
    ("asked", "found", "unfinished", "failure"),
    [
        (answered("a.", "a."), {"billed": {"a.": ["b1", "b2"]}}, 0, "1 of 1 texts were billed more than once"),
        (answered("a.", "a."), {}, 0, "1 of 1 texts were never billed"),
        (answered("a."), {"billed": {"a.": ["b1"]}}, 0, "1 of 1 texts were not answered"),
        (answered("a.", "other."), {"billed": {"a.": ["b1"]}}, 0, "1 of 1 texts were answered wrongly"),
        (answered("a.", "a."), {"billed": {"a.": ["b1"]}, "running": ["b1"]}, 0, "still running upstream: b1"),
        (answered("a.", "a."), {"billed": {"a.": ["b1"]}, "input_files": ["f"]}, 0, "input files left upstream: f"),
        (answered("a.", "a."), {"billed": {"a.": ["b1"]}}, 2, "2 batches of the journal are not over"),
    ],
)
def test_a_session_in_which_something_went_wrong_is_found_guilty(
    asked: Asked, found: dict[str, list[str]], unfinished: int, failure: str
) -> None:
    assert judge([asked], replace(NOTHING, **found), unfinished).failures == [failure]  # type: ignore[arg-type]


def test_the_judge_names_the_batches_that_billed_a_text_and_who_created_them(tmp_path: Path) -> None:
    found = replace(
        NOTHING,
        billed={"a.": ["b1", "b2"]},
        batches={"b1": ("completed", {"engine": "replica-1"}), "b2": ("cancelled", {"engine": "replica-0"})},
        deeds=[(2.0, "/v1/batches", 200, '{"id": "b1"}'), (5.0, "/v1/batches", 200, '{"id": "b2"}')],
    )
    asked = Asked("a.", answers=["a."], tries=[(1.0, "499"), (4.0, "200")])
    with closing(Diary(tmp_path / "diary.log", begun=0.0)) as diary:
        told = list(tell_all([asked], found, diary, []))
    assert told[1:3] == [
        "     2.000 created: b1, completed, {'engine': 'replica-1'}",
        "     5.000 created: b2, cancelled, {'engine': 'replica-0'}",
    ]


def test_the_same_seed_gives_the_same_events() -> None:
    def drawn(seed: int) -> list[str]:
        events = draw(seed, 50, replicas=3, has_database=True, mean_gap=1.0, longest=60.0)
        return [f"{event} {event.gap}" for event in events]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
