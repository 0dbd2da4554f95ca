"""Batches of a program that died are looked at once: what is found, and what the journal says then."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from autobatcher.client.sdk import account_behind
from autobatcher.emulator import FaultPlan
from autobatcher.emulator.faults import BatchFault, Fault, HttpFault, LineFault
from autobatcher.engine.journal.journal import Journal
from autobatcher.engine.reconciliation import Finding, Reconciling
from autobatcher.upstream.batch_api import BatchAPI
from tests.harness import SDK_LIBRARY, World, ask, open_world, wait_for_event
from tests.journal.restarts import Lives


async def die_with(lives: Lives, world: World, count: int, **settings: Any) -> None:
    """A program whose batch is in the journal, and that is killed before it has an answer."""
    async with lives.life(world, **settings) as life, anyio.create_task_group() as nursery:
        for number in range(count):
            nursery.start_soon(ask, life.client, f"question {number}")
        await wait_for_event(world, "batch_progress")
        life.die()


async def reconcile(lives: Lives, world: World, **options: bool) -> list[Finding]:
    """What `autobatcher reconcile` does, on virtual time."""
    client = world.client()
    account = account_behind(client)
    journal = Journal(lives.path, retention_seconds=math.inf)
    contents = await journal.open()
    made = {"delete_input_files": True, "forgets_gone": False, **options}
    reconciling = Reconciling(
        journal, BatchAPI(world.emulator.http_client(library=SDK_LIBRARY)), lambda record: account, **made
    )
    findings = []
    for record in contents.batches:
        if record.stage != "ended":
            free = [line for _, line in contents.free_lines if line.stamp == record.stamp and not line.is_stored]
            findings.append(await reconciling.look_at(record, free))
    await journal.close(None)
    await client.close()
    return findings


def plan(*faults: Fault) -> FaultPlan:
    return FaultPlan(faults=faults)


async def stages(lives: Lives) -> list[tuple[str, int, int]]:
    """How far each batch is in the journal, its lines and its answers."""
    journal = Journal(lives.path, retention_seconds=math.inf)
    contents = await journal.open()
    await journal.close(None)
    return [(record.stage, record.lines, record.answered) for record in contents.batches]


async def test_what_runs_is_left_and_what_has_ended_is_read(lives: Lives) -> None:
    async with open_world(batch_seconds=30.0) as world:
        await die_with(lives, world, 3)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.answers) == ("running", 0)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.status, found.answers) == ("read", "completed", 3)
        assert await stages(lives) == [("ended", 3, 3)]
        assert await reconcile(lives, world) == []
        async with lives.life(world) as life:
            assert await ask(life.client, "question 1") == "question 1"
        assert world.emulator.statistics().batches_created == 1


async def test_results_that_cannot_be_read_now_are_read_by_the_next_look(lives: Lives) -> None:
    faults = plan(HttpFault(operation="files.content", first=1, cut_after_bytes=700))
    async with open_world(batch_seconds=10.0, faults=faults) as world:
        await die_with(lives, world, 3)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world)
        assert found.verdict == "failed"
        assert "could not be read" in found.reason
        ((stage, lines, answered),) = await stages(lives)
        assert (stage, lines) == ("created", 3)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.answers) == ("read", 3 - answered)
        assert await stages(lives) == [("ended", 3, 3)]


async def test_lines_that_failed_in_passing_are_not_kept_so_that_a_rerun_sends_them(lives: Lives) -> None:
    faults = plan(LineFault(kind="fail", lines=(2,), status=500))
    async with open_world(batch_seconds=10.0, faults=faults) as world:
        await die_with(lives, world, 3)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.answers) == ("read", 2)
        assert await stages(lives) == [("ended", 2, 2)]


async def test_an_expired_batch_gives_what_it_has(lives: Lives) -> None:
    async with open_world(batch_seconds=10.0, faults=plan(BatchFault(ends="expired", after=0.5))) as world:
        await die_with(lives, world, 4)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.status, found.answers) == ("read", "expired", 2)
        assert await stages(lives) == [("ended", 2, 2)]


@pytest.mark.parametrize("forgets_gone", [False, True])
async def test_a_batch_that_the_upstream_does_not_know_is_forgotten_only_if_told_so(
    lives: Lives, forgets_gone: bool
) -> None:
    faults = plan(HttpFault(operation="batches.retrieve", status=404, nth=tuple(range(2, 100))))
    async with open_world(batch_seconds=1000.0, faults=faults) as world:
        await die_with(lives, world, 1)
        (found,) = await reconcile(lives, world, forgets_gone=forgets_gone)
        assert found.verdict == ("forgotten" if forgets_gone else "gone")
        assert await stages(lives) == ([] if forgets_gone else [("created", 1, 0)])


@pytest.mark.parametrize("status", [404, 503])
async def test_a_creation_that_cannot_be_looked_up_stays_uncertain(lives: Lives, status: int) -> None:
    faults = plan(
        HttpFault(operation="batches.create", delay_seconds=1000.0, after_processing=True),
        HttpFault(operation="batches.list", status=status),
    )
    async with open_world(batch_seconds=10.0, faults=faults) as world:
        await die_while_creating(lives, world)
        (found,) = await reconcile(lives, world, forgets_gone=True)
        assert (found.verdict, found.status) == ("failed", "")
        assert await stages(lives) == [("creating", 1, 0)]


async def test_a_creation_that_nobody_heard_of_is_found_and_read(lives: Lives) -> None:
    faults = plan(HttpFault(operation="batches.create", delay_seconds=1000.0, after_processing=True))
    async with open_world(batch_seconds=1.0, faults=faults) as world:
        await die_while_creating(lives, world)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.answers) == ("read", 1)
        assert found.batch_id is not None


@pytest.mark.parametrize("keeps", [False, True])
async def test_the_input_file_goes_with_the_last_reading_unless_it_is_to_stay(lives: Lives, keeps: bool) -> None:
    async with open_world(batch_seconds=10.0) as world:
        await die_with(lives, world, 1)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world, delete_input_files=not keeps)
        assert found.verdict == "read"
        assert await count_input_files(world) == keeps


async def test_batches_of_a_journal_without_bodies_are_left_to_a_rerun_that_reads_them(lives: Lives) -> None:
    async with open_world(batch_seconds=10.0) as world:
        await die_with(lives, world, 1, journal_hash_only=True)
        await anyio.sleep(60)
        (found,) = await reconcile(lives, world)
        assert (found.verdict, found.status, found.answers) == ("read", "completed", 0)
        assert await stages(lives) == [("ended", 1, 0)]
        async with lives.life(world, journal_hash_only=True) as life:
            assert await ask(life.client, "question 0") == "question 0"
        assert world.emulator.statistics().batches_created == 1


async def test_what_never_was_is_forgotten_although_input_files_are_to_stay(lives: Lives) -> None:
    async with open_world(faults=plan(HttpFault(operation="files.create", delay_seconds=1000.0))) as world:
        await die_while_creating(lives, world)
        (found,) = await reconcile(lives, world, delete_input_files=False)
        assert found.verdict == "forgotten"
        assert await stages(lives) == []


async def test_what_never_was_stays_until_its_input_file_could_be_looked_for(lives: Lives) -> None:
    faults = plan(
        HttpFault(operation="files.create", delay_seconds=1000.0),
        HttpFault(operation="files.list", status=403, first=1),
    )
    async with open_world(faults=faults) as world:
        await die_while_creating(lives, world)
        (found,) = await reconcile(lives, world)
        assert found.verdict == "failed"
        assert await stages(lives) == [("intended", 1, 0)]
        (found,) = await reconcile(lives, world)
        assert found.verdict == "forgotten"


async def die_while_creating(lives: Lives, world: World) -> None:
    async with lives.life(world) as life, anyio.create_task_group() as nursery:
        nursery.start_soon(ask, life.client, "question")
        await anyio.sleep(5)  # the window is closed, the file uploaded, and the creation on its way
        life.die()


async def count_input_files(world: World) -> int:
    async with world.emulator.http_client(library=SDK_LIBRARY) as http:
        answer = await http.get("http://upstream.test/v1/files", headers={"authorization": "Bearer test-key"})
        return sum(file["purpose"] == "batch" for file in answer.json()["data"])
