"""What one event costs in the engine does not grow with the number of accounts, models, batches or lines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from autobatcher.client.header_kinds import HeaderKinds
from autobatcher.engine.booked_sorts import BookedSorts
from autobatcher.engine.dispatch.crowd import place_behind
from autobatcher.engine.dispatch.headcount import Headcount
from autobatcher.engine.dispatch.recent_crowds import MOST_KEPT, RecentCrowds
from autobatcher.engine.journal import UnclaimedLine
from autobatcher.engine.lanes.terms import ORDINARY
from autobatcher.engine.queue.queue import RequestQueue
from autobatcher.engine.queue.windows import ThrottledRequests
from autobatcher.engine.recovery.unclaimed import UnclaimedLines
from autobatcher.engine.settings import Settings
from autobatcher.events import BatchSubmitted
from autobatcher.money.ledger import Fate, Ledger, Sort
from autobatcher.money.usage import Usage
from autobatcher.progress import Progress
from autobatcher.upstream.account import Account
from tests.engine.test_windows import account, make
from tests.operations import growth

pytestmark = pytest.mark.proves(
    "faults", "thousands of calls, keys, models, headers or failures from strangers at once"
)
FLAT = 1.5
"""The most that the cost of one event may grow while the number of others grows fortyfold."""


def accounts(count: int) -> list[Account]:
    return [account(key=f"key-{number}") for number in range(count)]


async def test_a_batch_reserves_its_creation_whoever_else_creates_some() -> None:
    def reserving(count: int) -> Callable[[], Any]:
        queue = RequestQueue(Settings(isolate_accounts=True), lambda: None)
        those = accounts(count)
        for each in those:
            queue.reserve_creation(each)
        return lambda: queue.reserve_creation(those[0])

    assert growth(reserving) < FLAT


def test_headers_of_a_call_are_compared_with_those_of_its_caller_only() -> None:
    def comparing(count: int) -> Callable[[], Any]:
        kinds, those = HeaderKinds(), accounts(count)
        kept = [kinds.account_with(each, {"x-kind": "a"}) for each in those]
        return lambda: (kinds.account_with(those[-1], {"x-kind": "b"}), kept)

    assert growth(comparing) < FLAT


def test_callers_who_left_are_not_kept_for_their_headers() -> None:
    kinds = HeaderKinds()
    for each in accounts(5_000):
        kinds.account_with(each, {"x-kind": "a"})
    assert len(kinds._kinds) < 100


def test_accounts_with_key_functions_are_told_apart_at_once() -> None:
    def key_function() -> Any:
        async def key() -> str:
            return "key"

        return key

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        async def __call__(self) -> str:
            return "key"

    several = [account(key=key_function()) for _ in range(1_000)]
    assert len(set(map(hash, several))) > 900
    odd: Any = Unhashable()
    assert {account(key=odd): 1}[account(key=odd)] == 1


@pytest.mark.parametrize("isolates", [False, True])
def test_the_place_of_a_call_is_known_without_a_look_at_each_account(isolates: bool) -> None:
    def placing(count: int) -> Callable[[], Any]:
        those = accounts(count)
        crowd = Headcount(dict.fromkeys(those, 3))
        return lambda: place_behind(crowd, those[0], 1, running=crowd, concurrency=32, isolates=isolates)

    assert growth(placing) < FLAT


async def test_requests_join_those_that_wait_for_room_upstream_in_front_or_behind() -> None:
    several = [await make(account(), body=b"%d" % number) for number in range(6)]
    waiting = ThrottledRequests()
    waiting.add(several[2:4])
    waiting.add(several[:2], in_front=True)
    waiting.add(several[4:])
    assert list(waiting) == several


def test_a_batch_is_noted_whatever_else_is_under_way() -> None:
    def submitted(number: int) -> BatchSubmitted:
        return BatchSubmitted(
            ts=0.0,
            batch_id=f"batch-{number}",
            endpoint="",
            input_file_id="file",
            models=[],
            request_count=1,
            completion_window="24h",
            metadata={},
        )

    def noting(count: int) -> Callable[[], Any]:
        progress = Progress(requests=None)
        for number in range(count):
            progress.take(submitted(number), 0.0)
        return lambda: progress.take(submitted(count), 0.0)

    assert growth(noting) < FLAT


def test_lines_of_a_batch_that_is_gone_are_forgotten_at_the_next_sweep_and_not_after_31_days() -> None:
    unclaimed = UnclaimedLines()
    lines = [UnclaimedLine("batch", number, unclaimed_since=100.0) for number in range(1_000)]
    for line in lines:
        unclaimed.add(b"%d" % line.number, line)
        line.is_gone = line.number > 0
    unclaimed.forget_old(stored_before=0.0, unread_before=0.0)
    assert len(unclaimed._lines) == 1
    assert list(unclaimed) == lines[:1]


async def test_a_crowd_is_not_counted_for_each_of_those_who_come_in_one_moment() -> None:
    counted: list[float] = []

    def count(deadline: float) -> Headcount:
        counted.append(deadline)
        return Headcount()

    recent = RecentCrowds(count)
    for number in range(10_000):
        request = await make(account(key=f"key-{number % 10}"))
        request.terms = ORDINARY._replace(deadline=1_000.0 + 8.6 * number)  # within a day
        crowd = recent.of(1_000.0 + 8.6 * number, now=number / 20_000)
        recent.came(request)
    assert len(counted) < MOST_KEPT
    assert all(deadline <= later for deadline, later in pairwise(counted))
    assert crowd.of(account(key="key-9")) > 0
    recent.of(1_000.0, now=1.0)
    assert counted[-1] == 1_020.0  # anew


def test_what_an_answer_cost_is_found_without_a_look_at_each_model() -> None:
    def finding(count: int) -> Callable[[], Any]:
        ledger, sorts = Ledger(), BookedSorts("24h")
        for number in range(count):
            ledger.add(Sort("openai", "", f"model-{number}", "", "batch", "24h", Fate.DELIVERED), Usage(1, 0, 1, 0))
        body = b'{"model": "model-7-2026-01-31", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
        return lambda: sorts.of_body(body, None, ledger)

    sort, _ = finding(50)()
    assert sort.model == "model-7"
    assert growth(finding) < FLAT
