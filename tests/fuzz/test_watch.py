"""What is watched while fuzzing is found when it happens."""

from __future__ import annotations

import logging
import time

import pytest
import trio

from .findings import OURS
from .leaks import LEAK_BYTES, Leaks
from .loop import TrioBeats
from .process import used_bytes
from .shrinking import shrunk
from .watch import MEMORY_BYTES, Watch

pytestmark = pytest.mark.real_time
WORK = """
begun = time.thread_time()
while time.thread_time() - begun < 0.2:
    pass
"""


def test_a_block_of_the_loop_is_found_with_the_place_that_blocks() -> None:
    async def block() -> None:
        await trio.lowlevel.checkpoint()
        exec(compile(WORK, f"{OURS}/engine/slow.py", "exec"), {"time": time})
        await trio.lowlevel.checkpoint()

    with Watch() as watch:
        trio.run(block, instruments=[TrioBeats(watch.loop)])
        kinds = {finding.kind: finding.where for finding in watch.take()}
    assert kinds["block"] == "autobatcher/engine/slow.py:<module>"


def test_what_the_emulator_and_the_mutations_take_is_no_block() -> None:
    async def block() -> None:
        await trio.lowlevel.checkpoint()
        exec(compile(WORK, f"{OURS}/emulator/slow.py", "exec"), {"time": time})
        await trio.lowlevel.checkpoint()

    with Watch() as watch:
        trio.run(block, instruments=[TrioBeats(watch.loop)])
        assert watch.take() == []


def test_memory_defects_and_what_is_left_open_are_found() -> None:
    with Watch(settle_seconds=0.2) as watch:
        with watch.bounded_memory():
            bytearray(MEMORY_BYTES + 10_000_000)[::4096] = b"x" * len(range(0, MEMORY_BYTES + 10_000_000, 4096))
        with watch.nothing_left_behind("test"):
            opened = open(__file__)  # noqa: SIM115  (left open on purpose)
        logging.getLogger("autobatcher").error("autobatcher: a bug in the engine; please report it")
        kinds = {finding.kind for finding in watch.take()}
    opened.close()
    assert kinds == {"memory", "left behind", "defect"}


def test_what_each_visit_keeps_is_a_leak() -> None:
    kept = []
    with Watch() as watch:
        for _ in range(5):
            with watch.nothing_left_behind("test"):
                kept.append(bytes(LEAK_BYTES + 1_000_000))
        assert [finding.kind for finding in watch.take()] == ["leak"]


def test_large_blocks_and_small_objects_are_in_use_until_they_are_freed() -> None:
    for keep in (lambda: bytes(20_000_000), lambda: [str(number) for number in range(200_000)]):
        before = used_bytes()
        kept = keep()
        assert used_bytes() - before > 15_000_000
        del kept
        assert used_bytes() - before < 1_000_000


def test_what_one_visit_leaves_and_another_takes_away_is_no_leak() -> None:
    leaks = Leaks()
    assert not any(leaks.growth("a", 10**6 * used) for used in (10, 50, 50, 80, 90, 50, 52, 59, 90))
    assert not any(leaks.growth("b", 10**6 * used) for used in (200, 200, 200))
    assert leaks.growth("a", 10**6 * 61) == 0
    assert [leaks.growth("a", 10**6 * 61) for _ in range(2)] == [11 * 10**6] * 2


def test_shrinking_leaves_the_cases_that_matter() -> None:
    assert shrunk(list(range(40)), lambda cases: {7, 30} <= set(cases), 10.0) == [7, 30]
