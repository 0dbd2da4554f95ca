"""Nothing is created twice, no paid answer is lost, and no batch without callers keeps running, whatever the upstream
does."""

from __future__ import annotations

import json
from typing import Any

import anyio
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import BatchEndedError, BatchSubmissionError, BatchUnreachableError, EngineError
from autobatcher.emulator import FaultPlan, HttpFault
from tests.engine.test_faults_of_the_upstream import DAY, ask_many, check_answers
from tests.harness import HTTP, SDK_LIBRARY, Send, ask, between, open_harness, outcome_of, wait_for_event
from tests.upstream.test_fuzz import anything, ids, objects


def is_call(request: Any, method: str, ending: str) -> bool:
    return bool(request.method == method and request.url.path.endswith(ending))


LOST_CREATION = HttpFault(operation="batches.create", nth=(1,), lose_answer=True)


# ---- creating: once ----


@pytest.mark.parametrize(
    "page",
    [[], {}, {"message": "nope"}, None, {"data": {"x": 1}}, {"data": 5}, {"data": None, "has_more": True}],
    ids=repr,
)
async def test_a_list_of_odd_shape_is_no_lookup_that_found_nothing(page: object) -> None:
    async def answer(request: Any, send: Send) -> Any:
        return HTTP.Response(200, json=page) if is_call(request, "GET", "/batches") else await send(request)

    async with open_harness(faults=FaultPlan((LOST_CREATION,)), batch_seconds=50) as harness:
        (outcome,) = await ask_many(harness, 1, http_client=between(harness, answer))
        assert isinstance(outcome, BatchSubmissionError)
        assert "may have been created or not" in str(outcome)
        assert harness.emulator.statistics().batches_created == 1
        assert len(harness.events_named("batch_cancel_failed")) == 1


async def test_a_list_without_an_object_around_it_finds_the_batch() -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if is_call(request, "GET", "/batches"):
            await response.aread()
            return HTTP.Response(200, json=response.json()["data"])
        return response

    async with open_harness(faults=FaultPlan((LOST_CREATION,)), batch_seconds=50) as harness:
        check_answers(await ask_many(harness, 1, http_client=between(harness, answer)))
        assert harness.emulator.statistics().batches_created == 1


async def test_a_list_that_never_ends_is_no_lookup_that_found_nothing() -> None:
    async def answer(request: Any, send: Send) -> Any:
        if not is_call(request, "GET", "/batches"):
            return await send(request)
        after = int(request.url.params.get("after", "0"))
        page = [{"id": str(after + i), "status": "completed"} for i in range(1, 101)]
        return HTTP.Response(200, json={"data": page, "has_more": True})

    async with open_harness(faults=FaultPlan((LOST_CREATION,)), batch_seconds=50) as harness:
        (outcome,) = await ask_many(harness, 1, http_client=between(harness, answer))
        assert "may have been created or not" in str(outcome)
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.proves("faults", "the answer to POST /batches is lost")
async def test_a_creation_that_outlasts_its_gateway_is_found_and_not_repeated() -> None:
    async with open_harness(batch_seconds=50) as harness, anyio.create_task_group() as server:
        creations: list[Any] = []

        async def create_later(request: Any, send: Send) -> None:
            await anyio.sleep(3)
            await send(request)

        async def answer(request: Any, send: Send) -> Any:
            if is_call(request, "POST", "/batches"):
                copied = HTTP.Request("POST", request.url, headers=request.headers, content=await request.aread())
                creations.append(copied)
                server.start_soon(create_later, copied, send)
                return HTTP.Response(504, text="gateway timeout")
            return await send(request)

        check_answers(await ask_many(harness, 1, http_client=between(harness, answer)))
        assert len(creations) == 1
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("status", [408, 409])
@pytest.mark.parametrize("pairs", [0, 15, 16])  # 16 pairs leave no room for the idempotency key
async def test_a_refusal_of_what_was_created_all_the_same_creates_no_second_batch(status: int, pairs: int) -> None:
    plan = FaultPlan((HttpFault(operation="batches.create", nth=(1,), status=status, after_processing=True),))
    async with open_harness(faults=plan, batch_seconds=50) as harness:
        check_answers(await ask_many(harness, 1, batch_metadata={f"k{i}": "v" for i in range(pairs)}))
        assert harness.emulator.statistics().batches_created == 1


async def test_nothing_is_created_for_callers_who_left_between_two_tries() -> None:
    busy = HttpFault(operation="batches.create", nth=(1,), status=429, headers={"retry-after": "60"})
    async with open_harness(faults=FaultPlan((busy,)), batch_seconds=500) as harness, harness.client() as client:
        with anyio.move_on_after(10):
            await ask(client, "x")
        await anyio.sleep(200)
        assert harness.emulator.statistics().http_calls["batches.create"] == 1
        assert harness.emulator.statistics().batches_created == 0


async def test_a_users_content_type_header_spoils_no_upload() -> None:
    async with open_harness() as harness:
        check_answers(await ask_many(harness, 1, default_headers={"Content-Type": "application/json"}))


async def test_a_closed_http_client_is_told_as_such_and_is_no_defect_of_ours() -> None:
    async with open_harness() as harness:
        http = harness.emulator.http_client(library=SDK_LIBRARY)
        await http.aclose()
        (outcome,) = await ask_many(harness, 1, http_client=http)
        assert isinstance(outcome, BatchSubmissionError)
        assert "http_client is closed" in str(outcome)


# ---- reading: all that was paid for ----


@pytest.mark.proves("faults", "429/5xx/cut connection/HTML on upload, poll, download; download cut half-way")
async def test_an_outage_of_two_minutes_at_reading_loses_no_answer() -> None:
    asked_at: list[float] = []

    async def answer(request: Any, send: Send) -> Any:
        if is_call(request, "GET", "/content"):
            asked_at.append(anyio.current_time())
            if asked_at[-1] < asked_at[0] + 120:
                return HTTP.Response(503, text="storage is down")
        return await send(request)

    async with open_harness() as harness:
        check_answers(await ask_many(harness, 3, http_client=between(harness, answer)))
        assert asked_at[-1] >= asked_at[0] + 120


@pytest.mark.parametrize(
    "fault",
    [
        HttpFault(operation="files.content", nth=(1,), status=403),
        HttpFault(operation="batches.retrieve", first=15, status=404),
    ],
    ids=lambda fault: fault.operation,
)
async def test_a_refusal_that_passes_loses_no_batch(fault: HttpFault) -> None:
    async with open_harness(faults=FaultPlan((fault,)), batch_seconds=500) as harness:
        check_answers(await ask_many(harness, 3))


async def test_polling_waits_as_long_as_the_upstream_asks() -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", first=1, status=429, headers={"retry-after": "50"}),))
    async with open_harness(faults=plan) as harness:
        start = anyio.current_time()
        check_answers(await ask_many(harness, 1))
        assert anyio.current_time() - start > 50
        assert harness.emulator.statistics().http_calls["batches.retrieve"] == 2


async def test_polls_answered_with_nonsense_end_some_day() -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", status=200, body="<html>"),))
    async with open_harness("doubleword", faults=plan, completion_windows=()) as harness:
        with anyio.fail_after(7 * DAY):
            (outcome,) = await ask_many(harness, 1, completion_window="background", poll_interval_seconds=600)
        assert isinstance(outcome, BatchUnreachableError)


async def test_a_key_function_that_fails_once_while_polling_costs_nobody_their_answer() -> None:
    calls = 0

    async def key() -> str:
        nonlocal calls
        calls += 1
        if calls == 5:  # the SDK's call, the upload, the creation, a poll, this one
            raise OSError("no answer of the token endpoint")
        return "k"

    async with open_harness(batch_seconds=50) as harness:
        check_answers(await ask_many(harness, 1, api_key=key))
        assert calls > 5


async def test_a_key_function_that_fails_for_good_is_no_defect_of_ours() -> None:
    calls = 0

    async def key() -> str:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise PermissionError("no token")
        return "k"

    async with open_harness() as harness:
        (outcome,) = await ask_many(harness, 1, api_key=key)
        assert isinstance(outcome, BatchSubmissionError)
        assert "the api_key function raised PermissionError" in str(outcome)
        assert harness.emulator.statistics().uploads == 0


async def test_a_request_id_that_no_header_can_hold_loses_no_answer() -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if is_call(request, "GET", "/content"):
            await response.aread()
            line = json.loads(response.content)
            line["response"]["request_id"] = "réq\n1"
            return HTTP.Response(200, content=json.dumps(line).encode())
        return response

    async with open_harness() as harness:
        check_answers(await ask_many(harness, 1, http_client=between(harness, answer)))
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "a/b?c"},
        {"id": "x\ny"},
        {"id": ""},
        {"output_file_id": "x\ny"},
        {"output_file_id": {"a": 1}},
        {"output_file_id": "é"},
    ],
    ids=repr,
)
async def test_ids_that_lead_nowhere_are_an_upstream_out_of_reach(fields: dict[str, object]) -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if "/batches" in request.url.path:
            await response.aread()
            batch = response.json()
            if "output_file_id" in batch:
                return HTTP.Response(200, json={**batch, **fields})
        return response

    async with open_harness() as harness:
        http = between(harness, answer)
        (outcome,) = await ask_many(harness, 1, http_client=http, poll_interval_seconds=600)
        assert isinstance(outcome, BatchUnreachableError)
        assert harness.emulator.statistics().batches_created == 1


ODD_STATUSES: tuple[object, ...] = (
    0,
    100,
    101,
    204,
    302,
    304,
    399,
    600,
    99999,
    -1,
    "200",
    200.5,
    "1" * 5000,
    True,
    None,
)
ODD_BODIES: tuple[object, ...] = (5, "text", [], True, "")


@pytest.mark.parametrize(
    "response",
    [
        *({"status_code": status, "body": {"id": "x", "choices": []}} for status in ODD_STATUSES),
        *({"status_code": 200, "body": body} for body in ODD_BODIES),
    ],
    ids=lambda response: repr(response)[:40],
)
async def test_an_answer_of_odd_status_or_body_is_neither_sent_again_nor_a_defect_of_ours(
    response: dict[str, object],
) -> None:
    async def answer(request: Any, send: Send) -> Any:
        original = await send(request)
        if is_call(request, "GET", "/content"):
            await original.aread()
            line = {**json.loads(original.content), "response": response}
            return HTTP.Response(200, content=json.dumps(line).encode())
        return original

    async with open_harness() as harness:
        async with harness.client(http_client=between(harness, answer)) as client:
            call = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
            with anyio.fail_after(DAY):
                outcome = await outcome_of(call)
        assert not isinstance(outcome, EngineError)
        is_status = response["status_code"] in (200, "200", None)
        assert is_status != isinstance(outcome, BatchEndedError)  # whose body has the line
        assert not isinstance(outcome, Exception) or isinstance(outcome, openai.APIStatusError | BatchEndedError)
        assert harness.emulator.statistics().batches_created == 1


# ---- leaving: nothing runs on ----


async def test_lines_of_those_who_left_are_not_paid_once_the_last_who_stayed_is_answered() -> None:
    async with open_harness("doubleword", batch_seconds=1000) as harness, harness.client() as client:
        async with anyio.create_task_group() as stayers, anyio.create_task_group() as goers:
            stayers.start_soon(ask, client, "stays")
            await anyio.wait_all_tasks_blocked()  # so that its line is executed first
            for i in range(20):
                goers.start_soon(ask, client, f"goes {i}")
            await wait_for_event(harness, "batch_submitted")
            goers.cancel_scope.cancel()
        assert anyio.current_time() < 100
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert anyio.current_time() < 130
        assert harness.emulator.statistics().running_batch_ids == ()


@pytest.mark.parametrize(
    ("at", "operation", "told"),
    [
        (2, "files.create", []),
        (2, "batches.create", ["batch_submitted", "batch_cancel_requested", "batch_cancelled_upstream"]),
        (6, "batches.retrieve", ["batch_submitted", "batch_cancel_requested", "batch_cancelled_upstream"]),
        (110, "files.content", ["batch_submitted", "batch_completed"]),
    ],
)
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_everyone_leaving_in_any_phase_leaves_nothing_running(
    at: float, operation: str, told: list[str], like: str
) -> None:
    slow = FaultPlan((HttpFault(operation=operation, delay_seconds=15),))
    async with open_harness(like, faults=slow, batch_seconds=100) as harness, harness.client() as client:
        with anyio.move_on_after(at):
            async with anyio.create_task_group() as callers:
                for i in range(3):
                    callers.start_soon(ask, client, str(i))
        await anyio.sleep(60)
        assert harness.emulator.statistics().running_batch_ids == ()
        assert [event["event"] for event in harness.events if event["event"] != "batch_progress"] == told


async def test_an_abandoned_batch_is_cancelled_though_the_upstream_is_down_for_a_minute() -> None:
    down_until = 0.0

    async def answer(request: Any, send: Send) -> Any:
        if anyio.current_time() < down_until:
            return HTTP.Response(503, text="down")
        return await send(request)

    async with (
        open_harness(batch_seconds=5000) as harness,
        harness.client(http_client=between(harness, answer)) as client,
    ):
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, client, "x")
            await wait_for_event(harness, "batch_submitted")
            down_until = anyio.current_time() + 60
            callers.cancel_scope.cancel()
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert down_until <= anyio.current_time() < down_until + 60
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_a_cancellation_that_takes_longer_than_a_shutdown_is_waited_for_while_the_engine_runs() -> None:
    plan = FaultPlan((HttpFault(operation="batches.cancel", delay_seconds=15),))
    async with open_harness(faults=plan, batch_seconds=5000) as harness, harness.client() as client:
        with anyio.move_on_after(10):
            await ask(client, "x")
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert len(harness.events_named("batch_cancel_requested")) == 1
        assert harness.emulator.statistics().running_batch_ids == ()


# ---- any JSON, anywhere ----

batch_fields = objects(dict.fromkeys(("id", "status", "request_counts", "metadata", "errors", *ids), anything))
operations = {
    "upload": ("POST", "/files"),
    "creation": ("POST", "/batches"),
    "poll": ("GET", ""),
    "list": ("GET", "/batches"),
    "content": ("GET", "/content"),
}


def operation_of(request: Any) -> str | None:
    if "/batches/" in request.url.path:
        return "poll" if request.method == "GET" else None
    return next((name for name, (method, ending) in operations.items() if is_call(request, method, ending)), None)


def distorted(original: Any, operation: str, fields: dict[str, Any], whole: Any) -> Any:
    """What a server returns instead: other fields in its batch objects, or something else altogether."""
    if whole is not None or not isinstance(original, dict):
        return whole
    if operation == "list":
        return {**original, "data": [{**item, **fields} for item in original["data"]]}
    return {**original, **fields}


@settings(max_examples=100, derandomize=True)
@given(batch_fields, st.none() | anything, st.sampled_from(sorted(operations)))
async def test_no_json_of_an_upstream_hangs_the_engine_or_counts_as_its_defect(
    fields: dict[str, Any], whole: Any, where: str
) -> None:
    has_lost_one = False

    async def answer(request: Any, send: Send) -> Any:
        nonlocal has_lost_one
        operation = operation_of(request)
        response = await send(request)
        if where == "list" and operation == "creation" and not has_lost_one:
            has_lost_one = True
            raise HTTP.ReadError("lost")
        if operation != where:
            return response
        await response.aread()
        original = response.json() if where != "content" else None
        text = json.dumps(distorted(original, where, fields, whole))
        return HTTP.Response(200, content=text.encode("utf-8", "surrogatepass"))

    async with open_harness(batch_seconds=3) as harness:
        with anyio.fail_after(3 * DAY):
            (outcome,) = await ask_many(harness, 1, http_client=between(harness, answer), poll_interval_seconds=1000)
        assert isinstance(outcome, str | openai.APIError)
        assert not isinstance(outcome, EngineError)
