"""Programs of a fleet that die, end and lose the database at any moment: each request is answered and billed once.

`HYPOTHESIS_SEEDS=5000` runs that many random histories.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.errors import BatchError
from tests.harness import Harness, ask, open_harness
from tests.journal.fleet.programs import Fleet, Member, find_database, lose_database
from tests.journal.restarts import billed
from tests.postgres_server import PostgresServer

SEEDS = int(os.environ.get("HYPOTHESIS_SEEDS", "0"))
EXAMPLES = settings(
    max_examples=SEEDS or 6,
    derandomize=not SEEDS,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

How = Literal["dies", "ends", "loses its session"]


@dataclass(frozen=True)
class Caller:
    """One who asks until there is an answer.

    Attributes:
        stays: how long each time, before it asks another member; the last time it stays.
    """

    at: float
    text: str
    stays: list[tuple[int, float]]


@dataclass(frozen=True)
class Trouble:
    """What happens to a member, and how long it goes without a session."""

    at: float
    member: int
    how: How
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Attributes:
    members: how many there are. The first one lives to the end.
    """

    members: int
    batch_seconds: float
    batch_size: int
    callers: list[Caller]
    troubles: list[Trouble]
    commit_seconds: float
    is_hash_only: bool


moments = (st.integers(0, 80) | st.integers(0, 600)).map(lambda tenths: tenths / 10)
callers = st.builds(
    Caller,
    at=st.sampled_from([0.0, 0.0, 5.0]) | moments,
    text=st.sampled_from(["a", "a", "b", "c", "d"]),
    stays=st.lists(st.tuples(st.integers(0, 2), moments), min_size=1, max_size=3),
)
troubles = st.builds(
    Trouble,
    at=moments,
    member=st.integers(0, 2),
    how=st.sampled_from(["dies", "ends", "loses its session", "loses its session"]),
    seconds=st.sampled_from([0.0, 3.0, 20.0, 90.0]),
)
plans = st.builds(
    Plan,
    members=st.sampled_from([2, 3]),
    batch_seconds=st.sampled_from([0.0, 15.0, 40.0]),
    batch_size=st.integers(1, 4),
    callers=st.lists(callers, min_size=1, max_size=6),
    troubles=st.lists(troubles, min_size=1, max_size=4),
    commit_seconds=st.sampled_from([0.0, 0.3]),
    is_hash_only=st.booleans(),
)


@pytest.mark.timeout(36_000 if SEEDS else 120, method="thread")
@EXAMPLES
@given(plan=plans)
async def test_whatever_happens_to_a_fleet_each_request_is_answered_and_billed_once(
    plan: Plan, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(postgres.url(postgres.new_name()), monkeypatch)
    fleet.commit_seconds = plan.commit_seconds
    options: dict[str, Any] = {
        "batch_size": plan.batch_size,
        "journal_hash_only": plan.is_hash_only,
        "cancel_active_batches_on_close": False,
        "cancel_abandoned_batches": False,
    }
    async with open_harness(batch_seconds=plan.batch_seconds) as harness:
        history = _History(plan, fleet, harness, options)
        async with anyio.create_task_group() as nursery:
            for number in range(plan.members):
                await nursery.start(history.run_member, number)
            with anyio.fail_after(3_000):
                await history.run()
            await anyio.sleep(100)  # what is left is adopted, looked up and read
            for end in history.ends:
                end.set()
        texts = [caller.text for caller in plan.callers]
        assert sorted(history.answers) == sorted((number, text) for number, text in enumerate(texts))
        assert billed(harness) <= Counter(texts)
        assert set(billed(harness)) == set(texts)
        statistics = harness.emulator.statistics()
        assert not statistics.running_batch_ids
        assert not statistics.input_file_ids
        with closing(PostgresStore(fleet.url)) as store:
            assert [record.stage for record in store.batches() if record.stage != "ended"] == []


class _History:
    def __init__(self, plan: Plan, fleet: Fleet, harness: Harness, options: dict[str, Any]) -> None:
        self.answers: list[tuple[int, str]] = []
        self.ends = [anyio.Event() for _ in range(plan.members)]
        self._members: dict[int, Member] = {}
        self._plan, self._fleet, self._harness, self._options = plan, fleet, harness, options

    async def run_member(self, number: int, *, task_status: Any) -> None:
        async with self._fleet.member(self._harness, **self._options) as member:
            self._members[number] = member
            task_status.started()
            await self.ends[number].wait()

    async def run(self) -> None:
        async with anyio.create_task_group() as nursery:
            for trouble in self._plan.troubles:
                nursery.start_soon(self._make, trouble)
            for number, caller in enumerate(self._plan.callers):
                nursery.start_soon(self._call, number, caller)

    async def _make(self, trouble: Trouble) -> None:
        await anyio.sleep(trouble.at)
        number = trouble.member % self._plan.members
        member = self._members.get(number)
        if member is None:
            return
        if trouble.how == "loses its session":
            lose_database(member)
            await anyio.sleep(trouble.seconds)
            find_database(member)
        elif number:
            del self._members[number]
            if trouble.how == "dies":
                member.die()
            else:
                member.client.keep_for_rerun()
                self.ends[number].set()

    async def _call(self, number: int, caller: Caller) -> None:
        await anyio.sleep(caller.at)
        for where, seconds in caller.stays:
            with anyio.move_on_after(seconds):
                await self._ask(number, caller.text, where)
                return
        await self._ask(number, caller.text, 0)

    async def _ask(self, number: int, text: str, where: int) -> None:
        while True:
            member = self._members.get(where % self._plan.members, self._members[0])
            try:
                self.answers.append((number, await ask(member.client, text)))
            except BatchError:
                await anyio.sleep(1)
            else:
                return
