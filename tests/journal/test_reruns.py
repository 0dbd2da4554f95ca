"""A program dies and is run again: its requests claim their lines or the stored answers."""

from __future__ import annotations

import json
from typing import Any

import anyio
import openai
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.errors import BatchError
from tests.harness import HTTP, Harness, ask, between, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Restarts, ask_all, billed

CHAT = "/v1/chat/completions"


def body(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


async def die_when(harness: Harness, restarts: Restarts, event: str, texts: list[str], **settings: Any) -> None:
    """Run a program that sends these requests, and kill it at the event."""
    async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(ask_all, program.client, texts)
        await wait_for_event(harness, event)
        program.die()


async def die_after(harness: Harness, restarts: Restarts, seconds: float, texts: list[str], **settings: Any) -> None:
    async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(ask_all, program.client, texts)
        await anyio.sleep(seconds)
        program.die()


async def test_a_rerun_takes_its_place_in_the_batch_that_still_runs(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a", "b"])
        async with restarts.program(harness) as program:
            assert len(await ask_all(program.client, ["a", "b"])) == 2
        assert billed(harness) == {"a": 1, "b": 1}
        assert harness.emulator.statistics().batches_created == 1
        assert [event["request_count"] for event in harness.events_named("batch_resumed")] == [2]


async def test_an_answer_that_is_there_is_given_although_the_upstream_is_silent(restarts: Restarts) -> None:
    async def silent(request: Any, send: Any) -> Any:
        await anyio.sleep_forever()

    async with open_harness() as harness:
        await die_when(harness, restarts, "batch_completed", ["a"])
        async with restarts.program(harness, http_client=between(harness, silent)) as program:
            begun = anyio.current_time()
            assert "a" in await ask(program.client, "a")
            assert anyio.current_time() == begun
        assert [event["request_count"] for event in harness.events_named("requests_reattached")] == [1]


async def test_five_equal_requests_keep_five_answers_and_a_sixth_is_a_new_one(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"] * 5)
        custom_ids: list[str] = []
        async with restarts.program(harness) as program:

            async def one() -> None:
                custom_ids.append((await program.client.answer(CHAT, body("a"))).custom_id)

            async with anyio.create_task_group() as nursery:
                for _ in range(6):
                    nursery.start_soon(one)
        assert len(set(custom_ids)) == 6
        assert billed(harness) == {"a": 6}


async def test_the_same_request_written_in_another_way_is_recognised(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"])
        async with restarts.program(harness) as program:
            fields = json.loads(body("a"))
            turned = json.dumps(dict(reversed(fields.items())), indent=2).encode()
            assert (await program.client.answer(CHAT, turned)).status_code == 200
        assert billed(harness) == {"a": 1}


@pytest.mark.parametrize(
    "other", [{"api_key": "another-key"}, {"base_url": "http://upstream.test/v1/", "organization": "another"}]
)
async def test_who_pays_with_another_account_gets_nobody_elses_place(restarts: Restarts, other: dict[str, str]) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"])
        async with restarts.program(harness, **other) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 2}


async def test_what_was_never_uploaded_is_simply_sent(restarts: Restarts) -> None:
    async with open_harness() as harness:
        await die_after(harness, restarts, 0.5, ["a"])
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        assert harness.emulator.statistics().uploads == 1


async def test_what_was_uploaded_and_not_created_is_sent_anew_and_its_file_deleted(restarts: Restarts) -> None:
    faults = FaultPlan((HttpFault(operation="files.create", delay_seconds=5.0, after_processing=True),))
    async with open_harness(faults=faults) as harness:
        await die_after(harness, restarts, 3.0, ["a"])
        assert harness.emulator.statistics().uploads == 1
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        assert not harness.emulator.statistics().input_file_ids


async def test_a_creation_whose_end_nobody_heard_is_found_by_its_idempotency_key(restarts: Restarts) -> None:
    faults = FaultPlan((HttpFault(operation="batches.create", first=1, delay_seconds=5.0, after_processing=True),))
    async with open_harness(faults=faults, batch_seconds=20.0) as harness:
        await die_after(harness, restarts, 3.0, ["a"])
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        assert harness.emulator.statistics().batches_created == 1


async def test_a_user_with_sixteen_pairs_of_metadata_has_it_found_by_its_file(restarts: Restarts) -> None:
    faults = FaultPlan((HttpFault(operation="batches.create", first=1, delay_seconds=5.0, after_processing=True),))
    metadata = {f"key{number}": "x" for number in range(16)}
    async with open_harness(faults=faults, batch_seconds=20.0) as harness:
        await die_after(harness, restarts, 3.0, ["a"], batch_metadata=metadata)
        async with restarts.program(harness, batch_metadata=metadata) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_a_creation_that_takes_effect_after_the_death_is_found_and_not_repeated(restarts: Restarts) -> None:
    """The server received the request, and creates the batch ten seconds later."""
    faults = FaultPlan((HttpFault(operation="batches.create", first=1, delay_seconds=10.0),))
    async with open_harness(faults=faults) as harness:
        await die_after(harness, restarts, 3.0, ["a"])
        sent = harness.emulator.statistics()
        assert sent.uploads == 1
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        assert harness.emulator.statistics().batches_created == 1


async def test_a_creation_that_never_arrived_is_made_once_and_that_is_said(restarts: Restarts) -> None:
    async with open_harness(
        faults=FaultPlan((HttpFault(operation="batches.create", first=1, disconnect=True),))
    ) as harness:
        await die_after(harness, restarts, 1.5, ["a"])
        assert not harness.emulator.statistics().batches_created
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        (event,) = harness.events_named("requests_resubmitted")
        assert "never created" in event["reason"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_lookup_that_is_refused_is_no_reason_to_repeat_a_creation(restarts: Restarts, status: int) -> None:
    faults = FaultPlan((HttpFault(operation="batches.create", first=1, delay_seconds=5.0, after_processing=True),))
    async with open_harness(faults=faults, batch_seconds=20.0) as harness:
        await die_after(harness, restarts, 3.0, ["a"])

        async def refused(request: Any, send: Any) -> Any:
            return await _http_answer(request, status)

        async with restarts.program(harness, http_client=between(harness, refused)) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), openai.APIConnectionError)
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_a_resumed_batch_is_waited_for_through_an_hour_of_502(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"])
        until = anyio.current_time() + 3600.0

        async def down(request: Any, send: Any) -> Any:
            if anyio.current_time() < until:
                return await _http_answer(request, 502)
            return await send(request)

        async with restarts.program(harness, http_client=between(harness, down)) as program:
            await ask(program.client, "a")
        assert anyio.current_time() >= until
        assert billed(harness) == {"a": 1}


async def _http_answer(request: Any, status: int) -> Any:
    return HTTP.Response(status, text="down", request=request)


async def test_a_resumed_batch_that_is_gone_is_sent_again_after_ten_minutes_and_that_is_said(
    restarts: Restarts,
) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a", "b"])
        (batch_id,) = harness.emulator.statistics().running_batch_ids

        async def gone(request: Any, send: Any) -> Any:
            return await (_http_answer(request, 404) if batch_id in request.url.path else send(request))

        begun = anyio.current_time()
        async with restarts.program(harness, http_client=between(harness, gone)) as program:
            assert len(await ask_all(program.client, ["a", "b"])) == 2
        assert anyio.current_time() - begun > 600.0
        (event,) = harness.events_named("requests_resubmitted")
        assert (event["request_count"], event["reason"]) == (2, "their batch is gone upstream")


async def test_a_resumed_batch_that_is_forbidden_is_no_reason_to_pay_again(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"])

        async def forbidden(request: Any, send: Any) -> Any:
            return await _http_answer(request, 403)

        async with restarts.program(harness, http_client=between(harness, forbidden)) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), openai.APIConnectionError)
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_lines_of_a_batch_out_of_reach_are_had_one_by_one_when_it_is_in_reach_again(restarts: Restarts) -> None:
    """In one process: each caller who retries finds the old batch, even long after it was read."""
    is_forbidden = False

    async def answer(request: Any, send: Any) -> Any:
        return await (_http_answer(request, 403) if is_forbidden else send(request))

    async with (
        open_harness(batch_seconds=5.0) as harness,
        restarts.program(harness, http_client=between(harness, answer)) as program,
    ):
        outcomes: list[Any] = []

        async def one(text: str) -> None:
            outcomes.append(await outcome_of(ask(program.client, text)))

        async with anyio.create_task_group() as nursery:
            for text in ("a", "b", "c"):
                nursery.start_soon(one, text)
            await wait_for_event(harness, "batch_submitted")
            is_forbidden = True
        assert all(isinstance(outcome, openai.APIConnectionError) for outcome in outcomes)
        is_forbidden = False
        for text in ("a", "b", "c"):
            assert text in await ask(program.client, text)
            await anyio.sleep(100)
        assert billed(harness) == {"a": 1, "b": 1, "c": 1}


async def test_the_lines_of_a_batch_that_was_cancelled_meanwhile_are_sent_again_but_for_those_it_answered(
    restarts: Restarts,
) -> None:
    faults = FaultPlan((BatchFault(nth=(1,), ends="cancelled", after=0.5),))
    async with open_harness(batch_seconds=30.0, faults=faults) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a", "b"])
        await anyio.sleep(60)
        async with restarts.program(harness) as program:
            assert len(await ask_all(program.client, ["a", "b"])) == 2
        assert billed(harness) == {"a": 1, "b": 1}


async def test_an_answer_with_a_retryable_status_is_not_kept(restarts: Restarts) -> None:
    faults = FaultPlan((LineFault(kind="fail", status=429, batches=(1,)),))
    async with open_harness(faults=faults) as harness:
        async with restarts.program(harness, max_retries=0) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), openai.RateLimitError)
            program.die()
        async with restarts.program(harness) as program:
            assert "a" in await ask(program.client, "a")


async def test_a_refusal_is_an_answer_and_kept(restarts: Restarts) -> None:
    faults = FaultPlan((LineFault(kind="fail", status=400, batches=(1,)),))
    async with open_harness(faults=faults) as harness:
        for _ in range(2):
            async with restarts.program(harness) as program:
                assert isinstance(await outcome_of(ask(program.client, "a")), openai.BadRequestError)
                program.die()
        assert harness.emulator.statistics().batches_created == 1


async def test_answers_that_come_while_a_batch_runs_are_kept_one_by_one(restarts: Restarts) -> None:
    async with open_harness("doubleword", batch_seconds=100.0) as harness:
        await die_after(harness, restarts, 60.0, [f"q{number}" for number in range(10)])
        async with restarts.program(harness) as program:
            times: list[float] = []

            async def one(text: str) -> None:
                assert text in await ask(program.client, text)
                times.append(anyio.current_time() - begun)

            begun = anyio.current_time()
            async with anyio.create_task_group() as nursery:
                for number in range(10):
                    nursery.start_soon(one, f"q{number}")
        assert sum(seconds == 0.0 for seconds in times) >= 3  # these were stored
        assert max(times) > 30.0
        assert set(billed(harness).values()) == {1}


# ---- when an answer counts as taken ----


async def test_what_a_process_took_that_ended_well_is_not_given_again(restarts: Restarts) -> None:
    async with open_harness() as harness:
        for _ in range(2):
            async with restarts.program(harness) as program:
                await ask(program.client, "a")
            restarts.end_well()
        assert billed(harness) == {"a": 2}


async def test_what_a_process_took_that_died_after_closing_is_given_again_once(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        async with restarts.program(harness) as program:
            assert len(await ask_all(program.client, ["a", "a"])) == 2
        assert billed(harness) == {"a": 2}


async def test_a_program_of_another_journal_whose_name_is_the_beginning_of_this_one_changes_nothing(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = Restarts(restarts.path.with_name(f"{restarts.path.name}-2"), monkeypatch)
    async with open_harness() as harness:
        async with longer.program(harness) as program:
            await ask(program.client, "a")
        async with restarts.program(harness) as program:
            await ask(program.client, "b")
        async with longer.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1, "b": 1}


async def test_a_second_client_of_the_same_process_gets_new_answers(restarts: Restarts) -> None:
    async with open_harness() as harness:
        restarts.new_process()
        for _ in range(2):
            async with restarts.client(harness) as client:
                await ask(client, "a")
        assert billed(harness) == {"a": 2}


async def test_a_block_that_an_exception_leaves_keeps_what_was_taken_in_it(restarts: Restarts) -> None:
    async with open_harness() as harness:
        restarts.new_process()

        async def fail() -> None:
            async with restarts.client(harness) as client:
                await ask(client, "a")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with restarts.client(harness) as client:
            await ask(client, "a")
        assert billed(harness) == {"a": 1}


async def test_a_client_that_was_told_to_keep_all_leaves_its_batch_running_and_gives_all_again(
    restarts: Restarts,
) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        async with (
            restarts.program(harness, cancel_active_batches_on_close=True) as program,
            anyio.create_task_group() as nursery,
        ):
            nursery.start_soon(outcome_of, ask(program.client, "a"))
            await wait_for_event(harness, "batch_submitted")
            program.client.keep_for_rerun()
            await program.client.close()
        restarts.end_well()
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_callers_and_client_cancelled_together_leave_the_batch_to_the_rerun(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        restarts.new_process()
        with anyio.CancelScope() as scope:
            async with restarts.client(harness) as client, anyio.create_task_group() as nursery:
                nursery.start_soon(ask_all, client, ["a", "b"])
                await wait_for_event(harness, "batch_submitted")
                scope.cancel()
        async with restarts.program(harness) as program:
            await ask_all(program.client, ["a", "b"])
        assert billed(harness) == {"a": 1, "b": 1}
        assert not harness.events_named("batch_cancel_requested")


# ---- within one process ----


async def test_a_caller_who_left_and_asks_again_has_its_old_place(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=60.0) as harness, restarts.program(harness) as program:
        with anyio.move_on_after(20):
            await ask(program.client, "a")
        await anyio.sleep(5)
        assert "a" in await ask(program.client, "a")
        assert billed(harness) == {"a": 1}
        assert not harness.events_named("batch_cancel_requested")


async def test_a_batch_that_all_callers_left_is_cancelled_a_minute_later(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=1000.0) as harness, restarts.program(harness) as program:
        with anyio.move_on_after(20):
            await ask(program.client, "a")
        left_at = anyio.current_time()
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert 60.0 <= anyio.current_time() - left_at < 70.0
        assert "a" in await ask(program.client, "a")  # in a new batch


async def test_an_answer_whose_caller_left_is_kept_for_the_next_one(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=60.0) as harness, restarts.program(harness) as program:

        async def leave() -> None:
            with anyio.move_on_after(20):
                await ask(program.client, "a")

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(leave)
            nursery.start_soon(ask, program.client, "b")
        begun = anyio.current_time()
        assert "a" in await ask(program.client, "a")
        assert anyio.current_time() - begun < 0.5
        assert billed(harness) == {"a": 1, "b": 1}


async def test_closing_while_stored_answers_are_read_leaves_nobody_waiting(restarts: Restarts) -> None:
    async with open_harness() as harness:
        await die_when(harness, restarts, "batch_completed", ["a"])
        outcomes: list[Any] = []
        async with restarts.program(harness) as program, anyio.create_task_group() as nursery:

            async def one() -> None:
                outcomes.append(await outcome_of(ask(program.client, "a")))

            nursery.start_soon(one)
            nursery.start_soon(program.client.close)
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], str | BatchError)
