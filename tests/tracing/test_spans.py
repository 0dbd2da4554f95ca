"""Spans of calls and batches, as OpenTelemetry gets them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from autobatcher import BatchOpenAI, BudgetExceededError, DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from tests.harness import MODEL, Send, ask, between, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Restarts
from tests.receipts import GIVEN_PRICES
from tests.tracing.recorder import Recorder, attributes, ident, linked, parent


def questions(texts: str) -> list[dict[str, Any]]:
    return [{"model": MODEL, "messages": [{"role": "user", "content": text}]} for text in texts]


SECRET = "a prompt that nobody else may read"


async def test_a_call_is_a_client_span_by_the_conventions_below_its_callers() -> None:
    recorder = Recorder()
    async with open_harness(batch_seconds=100) as harness, recorder.trace(harness.client()) as client:
        with recorder.caller() as caller:
            await ask(client, SECRET)
    (span,) = recorder.spans("chat")
    (event,) = harness.events_named("batch_submitted")
    assert span.name == f"chat {MODEL}"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert parent(span) == caller.get_span_context().span_id
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time >= 100_000_000_000
    told = attributes(span)
    assert told.pop("gen_ai.usage.input_tokens") > 0
    assert told.pop("gen_ai.usage.output_tokens") > 0
    assert told.pop("gen_ai.response.id").startswith("chatcmpl")
    assert told.pop("autobatcher.custom_id")
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "server.address": "upstream.test",
        "server.port": 80,
        "autobatcher.lane": "batch",
        "autobatcher.batch.id": event["batch_id"],
    }


async def test_a_batch_is_a_trace_of_its_own_with_links_to_its_calls_and_a_child_for_each_step() -> None:
    recorder = Recorder()
    async with (
        open_harness(batch_seconds=3_600) as harness,
        recorder.trace(harness.client()) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in "ab":
            nursery.start_soon(ask, client, text)
    calls, (batch,) = recorder.spans("chat"), recorder.spans("batch")
    assert batch.name == "batch chat"
    assert parent(batch) is None
    assert sorted(linked(batch)) == sorted(map(ident, calls))
    assert [linked(call) for call in calls] == [[ident(batch)]] * 2
    steps = [span for span in recorder.spans() if parent(span) == ident(batch)]
    assert [step.name for step in steps] == ["upload", "create", "poll", "read"]
    poll = steps[2]
    assert [event.attributes["autobatcher.batch.status"] for event in poll.events if event.attributes] == [
        "in_progress",
        "completed",
    ]
    assert attributes(poll)["autobatcher.poll.count"] > 10
    told = attributes(batch)
    assert told["autobatcher.batch.request_count"] == told["autobatcher.batch.completed_count"] == 2
    assert (told["autobatcher.batch.status"], told["autobatcher.batch.cause"]) == ("completed", "over")


async def test_a_large_batch_links_to_some_of_its_calls_and_each_of_them_to_it() -> None:
    recorder = Recorder()
    async with (
        open_harness() as harness,
        recorder.trace(harness.client()) as client,
        anyio.create_task_group() as nursery,
    ):
        for number in range(130):
            nursery.start_soon(ask, client, str(number))
    (batch,) = recorder.spans("batch")
    assert len(batch.links) == 128
    assert attributes(batch)["autobatcher.batch.request_count"] == 130
    assert {tuple(linked(call)) for call in recorder.spans("chat")} == {(ident(batch),)}


async def test_a_caller_who_leaves_ends_its_span_as_cancelled() -> None:
    recorder = Recorder()
    async with open_harness(batch_seconds=1_000) as harness, recorder.trace(harness.client()) as client:
        with anyio.move_on_after(100):
            await ask(client, "x")
        (span,) = recorder.spans("chat")
        await wait_for_event(harness, "batch_cancelled_upstream")
    assert attributes(span)["error.type"] == "cancelled"
    assert attributes(span)["autobatcher.batch.id"]
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(recorder.spans("batch")[0])["autobatcher.batch.cause"] == "abandoned"


async def test_a_failed_line_has_its_status_and_no_word_of_the_upstream() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400, body=json.dumps({"error": {"message": SECRET}})),))
    recorder = Recorder()
    async with open_harness(faults=plan) as harness, recorder.trace(harness.client()) as client:
        assert isinstance(await outcome_of(ask(client, SECRET)), openai.BadRequestError)
    (span,) = recorder.spans("chat")
    assert attributes(span)["error.type"] == "400"
    assert "gen_ai.usage.input_tokens" not in attributes(span)
    assert SECRET not in recorder.said()


async def test_a_call_that_is_sent_again_is_one_span_with_a_link_to_each_batch() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=500, batches=(1,)),))
    recorder = Recorder()
    async with open_harness(faults=plan) as harness, recorder.trace(harness.client()) as client:
        await ask(client, "x")
    (span,), batches = recorder.spans("chat"), recorder.spans("batch")
    assert len(batches) == 2
    assert sorted(linked(span)) == sorted(map(ident, batches))
    first, second = (attributes(batch)["autobatcher.batch.id"] for batch in batches)
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("autobatcher.requeued", {"autobatcher.batch.id": first})
    ]
    assert attributes(span)["autobatcher.batch.id"] == second


@pytest.mark.full_price
async def test_a_call_that_goes_to_a_dearer_lane_says_so() -> None:
    recorder = Recorder()
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000) as harness,
        recorder.trace(harness.client(deadline="6h", lanes=("batch", "realtime"))) as client,
    ):
        await ask(client, "x")
    (span,) = recorder.spans("chat")
    assert attributes(span)["autobatcher.lane"] == "realtime"
    assert "autobatcher.batch.id" not in attributes(span)
    escalated = [event for event in span.events if event.name == "autobatcher.escalated"]
    assert [(each.attributes or {})["autobatcher.lane.to"] for each in escalated] == ["realtime"]


async def test_a_call_whose_deadline_passes_has_one_span_with_that_error() -> None:
    recorder = Recorder()
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000) as harness,
        recorder.trace(harness.client(deadline="6h", lanes=["batch"])) as client,
    ):
        assert isinstance(await outcome_of(ask(client, "x")), DeadlineMissedError)
    (span,) = recorder.spans("chat")
    assert attributes(span)["error.type"] == "DeadlineMissedError"


async def test_a_refused_call_has_one_span_whichever_way_it_was_asked() -> None:
    recorder = Recorder()
    async with (
        open_harness() as harness,
        recorder.trace(harness.client(max_cost="0.00000001", prices=GIVEN_PRICES)) as client,
    ):
        assert isinstance(await outcome_of(ask(client, "x" * 1_000)), BudgetExceededError)
        assert len(recorder.spans("chat")) == 1
        with pytest.raises(BudgetExceededError):
            client.submit_nowait("/v1/chat/completions", b'{"model":"m","messages":[]}')
        assert len(recorder.spans("chat")) == 2
        results = [each async for each in client.map(questions("x"))]
        assert [type(each.exception) for each in results] == [BudgetExceededError]
    assert [attributes(span)["error.type"] for span in recorder.spans("chat")] == ["BudgetExceededError"] * 3


async def test_an_upload_that_is_refused_fails_its_span_and_that_of_its_batch() -> None:
    plan = FaultPlan((HttpFault(operation="files.create", status=403),))
    recorder = Recorder()
    async with open_harness(faults=plan) as harness, recorder.trace(harness.client()) as client:
        await outcome_of(ask(client, "x"))
    assert attributes(recorder.spans("upload")[0])["error.type"] == "403"
    assert attributes(recorder.spans("batch")[0])["error.type"] == "not_created"


async def test_a_batch_that_expires_fails_its_span() -> None:
    plan = FaultPlan((BatchFault(ends="expired"),))
    recorder = Recorder()
    async with open_harness(faults=plan) as harness, recorder.trace(harness.client(max_retries=0)) as client:
        await outcome_of(ask(client, "x"))
    assert attributes(recorder.spans("batch")[0])["error.type"] == "expired"


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK leaves its own unfinished at [DONE]
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_stream_is_over_for_its_span_when_the_answer_is_there() -> None:
    recorder = Recorder()
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
        )
        async with stream:
            assert attributes(recorder.spans("chat")[0])["gen_ai.usage.output_tokens"] > 0
            assert [chunk async for chunk in stream]
    assert len(recorder.spans("chat")) == 1


async def test_calls_of_a_map_belong_to_whoever_iterates() -> None:
    recorder = Recorder()
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        with recorder.caller() as caller:
            async for _ in client.map(questions("abc")):
                pass
    assert [parent(span) for span in recorder.spans("chat")] == [caller.get_span_context().span_id] * 3


async def test_other_endpoints_have_the_conventions_names() -> None:
    recorder = Recorder()
    async with (
        open_harness() as harness,
        recorder.trace(harness.client()) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(outcome_of, client.embeddings.create(model="e", input="x"))
        nursery.start_soon(outcome_of, client.responses.create(model="r", input="x"))
        nursery.start_soon(outcome_of, client.completions.create(model="c", prompt="x"))
    names = {
        span.name
        for span in recorder.spans()
        if span.kind is SpanKind.CLIENT and "gen_ai.operation.name" in attributes(span)
    }
    assert names == {"embeddings e", "chat r", "text_completion c"}


async def test_a_model_may_be_named_anything_but_spans_stay_small() -> None:
    recorder = Recorder()
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        await ask(client, "x", model="m\x1b[2J" + "m" * 900)
    (span,) = recorder.spans("chat")
    assert len(span.name) < 300
    assert span.name.isprintable()


async def test_spans_that_are_not_sampled_cost_no_call() -> None:
    recorder = Recorder(sampler=ALWAYS_OFF)
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        assert await ask(client, "x") == "x"
    assert recorder.spans() == []
    assert len(recorder.points("gen_ai.client.operation.duration")) == 1


class Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("a broken processor")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("a broken processor")


@pytest.mark.proves("faults", "a span processor, sampler or propagator of the program raises, while tracing is on")
async def test_a_broken_span_processor_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "autobatcher")  # only the first failure of a process is a warning
    recorder = Recorder(processor=Broken())
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        assert await ask(client, "x") == "x"
    assert "OpenTelemetry raised an exception" in caplog.text


async def test_a_batch_of_an_engine_that_stops_ends_its_span() -> None:
    recorder = Recorder()
    async with open_harness(batch_seconds=10_000) as harness:
        client: BatchOpenAI = recorder.trace(harness.client())
        async with anyio.create_task_group() as nursery, client:
            nursery.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_submitted")
            await client.close()
    assert attributes(recorder.spans("chat")[0])["error.type"] == "ClientClosedError"
    (batch,) = recorder.spans("batch")
    assert attributes(batch)["autobatcher.batch.cause"] == "stopped"
    assert batch.status.status_code is StatusCode.UNSET


@pytest.mark.full_price
async def test_what_is_sent_upstream_is_sent_below_the_batchs_step_or_below_the_call() -> None:
    """So whoever traces HTTP as well sees each request in its place."""
    recorder, seen = Recorder(), list[tuple[str, int]]()

    async def answer(request: Any, send: Send) -> Any:
        seen.append((f"{request.method} {request.url.path}", get_current_span().get_span_context().span_id))
        return await send(request)

    async with open_harness(has_lanes=True, batch_seconds=50_000) as harness:
        options = {"deadline": "6h", "lanes": ("batch", "realtime"), "http_client": between(harness, answer)}
        async with recorder.trace(harness.client(**options)) as client:
            with recorder.caller():
                await ask(client, "x")
    names = {ident(span): span.name for span in recorder.spans()}
    found = {(path.partition("batch_")[0], names.get(span)) for path, span in seen}
    assert found >= {
        ("POST /v1/files", "upload"),
        ("POST /v1/batches", "create"),
        ("GET /v1/batches/", "poll"),
        ("POST /v1/chat/completions", f"chat {MODEL}"),
    }


@pytest.fixture
def restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restarts:
    return Restarts(tmp_path / "journal.sqlite3", monkeypatch)


async def test_an_answer_that_a_journal_had_says_so(restarts: Restarts) -> None:
    recorder = Recorder()
    async with open_harness() as harness:
        async with restarts.program(harness) as first:
            await ask(first.client, "x")
            first.die()
        restarts.new_process()
        async with recorder.trace(restarts.client(harness)) as client:
            await ask(client, "x")
    (span,) = recorder.spans("chat")
    assert attributes(span)["autobatcher.from_journal"] is True
    assert attributes(span)["autobatcher.batch.id"]


async def test_a_call_that_finds_its_batch_again_is_linked_with_it(restarts: Restarts) -> None:
    recorder = Recorder()
    async with open_harness(batch_seconds=1_000) as harness:
        async with restarts.program(harness) as first, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(first.client, "x"))
            await wait_for_event(harness, "batch_submitted")
            first.die()
        restarts.new_process()
        async with recorder.trace(restarts.client(harness)) as client:
            await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1
    (call,), (batch,) = recorder.spans("chat"), recorder.spans("batch")
    assert (linked(call), linked(batch)) == ([ident(batch)], [ident(call)])
    assert attributes(batch)["autobatcher.batch.request_count"] == 1
    assert [step.name for step in recorder.spans() if parent(step) == ident(batch)] == ["poll", "read"]
