"""Checks once on the batches of a dead program: what is found, and what the journal says afterwards."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from autobatcher.client.sdk import account_behind
from autobatcher.emulator import FaultPlan
from autobatcher.emulator.faults import BatchFault, Fault, HttpFault, LineFault
from autobatcher.engine.journal.file_journal import FileJournal
from autobatcher.engine.reconciliation import Finding, Reconciling
from autobatcher.upstream.batch_api import BatchAPI
from tests.harness import SDK_LIBRARY, Harness, ask, open_harness, wait_for_event
from tests.journal.restarts import Restarts


async def die_with(restarts: Restarts, harness: Harness, count: int, **settings: Any) -> None:
    """Run a program whose batch is in the journal, and kill it before it has an answer."""
    async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
        for number in range(count):
            nursery.start_soon(ask, program.client, f"question {number}")
        await wait_for_event(harness, "batch_progress")
        program.die()


async def reconcile(restarts: Restarts, harness: Harness, **options: bool) -> list[Finding]:
    """Do what `autobatcher reconcile` does, on virtual time."""
    client = harness.client()
    account = account_behind(client)
    journal = FileJournal(restarts.path, retention_seconds=math.inf)
    contents = await journal.open()
    made = {"delete_input_files": True, "forgets_gone": False, **options}
    reconciling = Reconciling(
        journal, BatchAPI(harness.emulator.http_client(library=SDK_LIBRARY)), lambda record: account, **made
    )
    findings = []
    for record in contents.batches:
        if record.stage != "ended":
            free = [
                line
                for _, line in contents.unclaimed_lines
                if line.idempotency_key == record.idempotency_key and not line.is_stored
            ]
            findings.append(await reconciling.look_at(record, free))
    await journal.close(None)
    await client.close()
    return findings


def plan(*faults: Fault) -> FaultPlan:
    return FaultPlan(faults=faults)


async def stages(restarts: Restarts) -> list[tuple[str, int, int]]:
    """Return how far each batch is in the journal, with its lines and answers."""
    journal = FileJournal(restarts.path, retention_seconds=math.inf)
    contents = await journal.open()
    await journal.close(None)
    return [(record.stage, record.lines, record.answered) for record in contents.batches]


async def test_what_runs_is_left_and_what_has_ended_is_read(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_with(restarts, harness, 3)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.answers) == ("running", 0)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.status, found.answers) == ("read", "completed", 3)
        assert await stages(restarts) == [("ended", 3, 3)]
        assert await reconcile(restarts, harness) == []
        async with restarts.program(harness) as program:
            assert await ask(program.client, "question 1") == "question 1"
        assert harness.emulator.statistics().batches_created == 1


async def test_results_that_cannot_be_read_now_are_read_by_the_next_look(restarts: Restarts) -> None:
    faults = plan(HttpFault(operation="files.content", first=1, cut_after_bytes=700))
    async with open_harness(batch_seconds=10.0, faults=faults) as harness:
        await die_with(restarts, harness, 3)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness)
        assert found.verdict == "failed"
        assert "could not be read" in found.reason
        ((stage, lines, answered),) = await stages(restarts)
        assert (stage, lines) == ("created", 3)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.answers) == ("read", 3 - answered)
        assert await stages(restarts) == [("ended", 3, 3)]


async def test_lines_with_a_retryable_error_are_not_kept_so_that_a_rerun_sends_them(restarts: Restarts) -> None:
    faults = plan(LineFault(kind="fail", lines=(2,), status=500))
    async with open_harness(batch_seconds=10.0, faults=faults) as harness:
        await die_with(restarts, harness, 3)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.answers) == ("read", 2)
        assert await stages(restarts) == [("ended", 2, 2)]


async def test_an_expired_batch_gives_what_it_has(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=10.0, faults=plan(BatchFault(ends="expired", after=0.5))) as harness:
        await die_with(restarts, harness, 4)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.status, found.answers) == ("read", "expired", 2)
        assert await stages(restarts) == [("ended", 2, 2)]


@pytest.mark.parametrize("forgets_gone", [False, True])
async def test_a_batch_that_the_upstream_does_not_know_is_forgotten_only_if_told_so(
    restarts: Restarts, forgets_gone: bool
) -> None:
    faults = plan(HttpFault(operation="batches.retrieve", status=404, nth=tuple(range(2, 100))))
    async with open_harness(batch_seconds=1000.0, faults=faults) as harness:
        await die_with(restarts, harness, 1)
        (found,) = await reconcile(restarts, harness, forgets_gone=forgets_gone)
        assert found.verdict == ("forgotten" if forgets_gone else "gone")
        assert await stages(restarts) == ([] if forgets_gone else [("created", 1, 0)])


@pytest.mark.parametrize("status", [404, 503])
async def test_a_creation_that_cannot_be_looked_up_stays_uncertain(restarts: Restarts, status: int) -> None:
    faults = plan(
        HttpFault(operation="batches.create", delay_seconds=1000.0, after_processing=True),
        HttpFault(operation="batches.list", status=status),
    )
    async with open_harness(batch_seconds=10.0, faults=faults) as harness:
        await die_while_creating(restarts, harness)
        (found,) = await reconcile(restarts, harness, forgets_gone=True)
        assert (found.verdict, found.status) == ("failed", "")
        assert await stages(restarts) == [("creating", 1, 0)]


async def test_a_creation_that_nobody_heard_of_is_found_and_read(restarts: Restarts) -> None:
    faults = plan(HttpFault(operation="batches.create", delay_seconds=1000.0, after_processing=True))
    async with open_harness(batch_seconds=1.0, faults=faults) as harness:
        await die_while_creating(restarts, harness)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.answers) == ("read", 1)
        assert found.batch_id is not None


@pytest.mark.parametrize("keeps", [False, True])
async def test_the_input_file_goes_with_the_last_reading_unless_it_is_to_stay(restarts: Restarts, keeps: bool) -> None:
    async with open_harness(batch_seconds=10.0) as harness:
        await die_with(restarts, harness, 1)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness, delete_input_files=not keeps)
        assert found.verdict == "read"
        assert await count_input_files(harness) == keeps


async def test_batches_of_a_journal_without_bodies_are_left_to_a_rerun_that_reads_them(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=10.0) as harness:
        await die_with(restarts, harness, 1, journal_hash_only=True)
        await anyio.sleep(60)
        (found,) = await reconcile(restarts, harness)
        assert (found.verdict, found.status, found.answers) == ("read", "completed", 0)
        assert await stages(restarts) == [("ended", 1, 0)]
        async with restarts.program(harness, journal_hash_only=True) as program:
            assert await ask(program.client, "question 0") == "question 0"
        assert harness.emulator.statistics().batches_created == 1


async def test_what_never_was_is_forgotten_although_input_files_are_to_stay(restarts: Restarts) -> None:
    async with open_harness(faults=plan(HttpFault(operation="files.create", delay_seconds=1000.0))) as harness:
        await die_while_creating(restarts, harness)
        (found,) = await reconcile(restarts, harness, delete_input_files=False)
        assert found.verdict == "forgotten"
        assert await stages(restarts) == []


async def test_what_never_was_stays_until_its_input_file_could_be_looked_for(restarts: Restarts) -> None:
    faults = plan(
        HttpFault(operation="files.create", delay_seconds=1000.0),
        HttpFault(operation="files.list", status=403, first=1),
    )
    async with open_harness(faults=faults) as harness:
        await die_while_creating(restarts, harness)
        (found,) = await reconcile(restarts, harness)
        assert found.verdict == "failed"
        assert await stages(restarts) == [("intended", 1, 0)]
        (found,) = await reconcile(restarts, harness)
        assert found.verdict == "forgotten"


async def die_while_creating(restarts: Restarts, harness: Harness) -> None:
    async with restarts.program(harness) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(ask, program.client, "question")
        await anyio.sleep(5)  # the window is closed, the file uploaded, and the creation in flight
        program.die()


async def count_input_files(harness: Harness) -> int:
    async with harness.emulator.http_client(library=SDK_LIBRARY) as http:
        answer = await http.get("http://upstream.test/v1/files", headers={"authorization": "Bearer test-key"})
        return sum(file["purpose"] == "batch" for file in answer.json()["data"])
