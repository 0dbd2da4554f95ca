"""A real-time server behind the emulator; here another emulator plays it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import httpx
import openai
import pytest

from autobatcher.emulator import BatchFault, Emulator, FaultPlan, HttpFault, LineFault, Request

from .doors import CHAT, chat_line, create_batch, echo_of, open_http, open_sdk, read_lines, results


@asynccontextmanager
async def forwarding(behind: Emulator, **settings: Any) -> AsyncIterator[tuple[Emulator, openai.AsyncOpenAI]]:
    """An emulator, running, that forwards to the one `behind`, and an SDK in front of it."""
    front = Emulator(forward_to="http://model.test/v1", forward_transport=behind.transport(), shuffle=False, **settings)
    with front, behind:
        async with anyio.create_task_group() as group:
            await group.start(front.run)
            async with open_sdk(front) as sdk:
                yield front, sdk
            group.cancel_scope.cancel()


async def _end_of(sdk: openai.AsyncOpenAI, batch_id: str) -> Any:
    running = ("validating", "in_progress", "finalizing", "cancelling")
    with anyio.fail_after(1000):
        while (batch := await sdk.batches.retrieve(batch_id)).status in running:  # noqa: ASYNC110
            await anyio.sleep(1)
    return batch


async def test_lines_are_answered_by_the_server_behind() -> None:
    behind = Emulator()
    async with forwarding(behind, forward_key="secret") as (front, sdk):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(20)])
        assert batch.status == "validating"
        assert (await _end_of(sdk, batch.id)).status == "completed"
        told = await results(sdk, batch.id)
        assert {custom_id: echo_of(line) for custom_id, line in told.items()} == {f"r{i}": f"r{i}" for i in range(20)}
        assert behind.statistics().realtime_calls == {CHAT: 20}
        assert front.statistics().billed == {f"r{i}": 1 for i in range(20)}


async def test_lines_spelled_for_another_version_reach_the_server_behind() -> None:
    behind = Emulator()
    async with forwarding(behind, like="zhipu") as (front, sdk):
        url = "/v4/chat/completions"
        batch = await create_batch(sdk, [{**chat_line("a"), "url": url}], endpoint=url)
        assert (await _end_of(sdk, batch.id)).status == "completed"
        assert behind.statistics().realtime_calls == {CHAT: 1}
        assert front.statistics().billed == {"a": 1}


async def test_no_more_lines_are_out_at_once_than_allowed() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(delay_seconds=10),)))
    async with forwarding(behind, forward_concurrency=3) as (_, sdk):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(7)])
        done = []
        for _ in range(4):
            await anyio.sleep(5)
            done.append((await sdk.batches.retrieve(batch.id)).request_counts.completed)  # type: ignore[union-attr]
            await anyio.sleep(5)
        assert done == [0, 3, 6, 7]


async def test_a_cancelled_batch_sends_nothing_more_and_keeps_what_is_in_flight() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(delay_seconds=10),)))
    async with forwarding(behind, forward_concurrency=2) as (_, sdk):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10)])
        await anyio.sleep(15)
        await sdk.batches.cancel(batch.id)
        assert (await sdk.batches.retrieve(batch.id)).status == "cancelling"
        ended = await _end_of(sdk, batch.id)
        assert ended.status == "cancelled"
        executed = await read_lines(sdk, ended.output_file_id)
        assert {line["custom_id"] for line in executed} == {"r0", "r1", "r2", "r3"}
        await anyio.sleep(100)
        assert behind.statistics().realtime_calls == {CHAT: 4}


async def test_doubleword_serves_partial_output_while_forwarding() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(delay_seconds=10),)))
    async with forwarding(behind, like="doubleword", forward_concurrency=1) as (front, sdk), open_http(front) as http:
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(3)])
        await anyio.sleep(25)
        partial = await http.get(f"/files/{batch.output_file_id}/content", params={"skip": 1})
        assert [json.loads(line)["custom_id"] for line in partial.text.splitlines()] == ["r1"]
        assert (partial.headers["x-incomplete"], partial.headers["x-last-line"]) == ("true", "2")


async def test_failures_of_the_server_are_retried_and_then_told() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(nth=(1,), status=503), HttpFault(nth=(3,), disconnect=True))))
    async with forwarding(behind, forward_concurrency=1) as (_, sdk):
        lines = [chat_line("a"), chat_line("b")]
        batch = await create_batch(sdk, lines)
        assert (await _end_of(sdk, batch.id)).request_counts.completed == 2
        batch = await create_batch(sdk, [chat_line("c", model="fail-400"), chat_line("d", model="fail-400")])
        await _end_of(sdk, batch.id)
        assert (await results(sdk, batch.id))["c"]["response"]["status_code"] == 400
        batch = await create_batch(sdk, [chat_line("e", model="fail-500")])
        await _end_of(sdk, batch.id)
        assert (await results(sdk, batch.id))["e"]["response"]["status_code"] == 500
        assert behind.statistics().http_calls == {"realtime": 4 + 2 + 3}


async def test_an_unreachable_server_fails_its_lines() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(refuse=True),)))
    async with forwarding(behind) as (_, sdk):
        batch = await create_batch(sdk, [chat_line("a")])
        await _end_of(sdk, batch.id)
        failed = (await results(sdk, batch.id))["a"]["response"]
        assert failed["status_code"] == 502
        assert "cannot be reached" in failed["body"]["error"]["message"]


async def test_a_bad_file_is_never_forwarded() -> None:
    behind = Emulator()
    async with forwarding(behind) as (_, sdk):
        batch = await create_batch(sdk, b"{broken\n")
        assert (await _end_of(sdk, batch.id)).status == "failed"
        assert behind.statistics().http_calls == {}


async def test_a_batch_expires_with_what_was_done_in_time() -> None:
    behind = Emulator(faults=FaultPlan((HttpFault(delay_seconds=30_000),)))
    async with forwarding(behind, forward_concurrency=1) as (_, sdk):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(5)])
        await anyio.sleep(86_000)
        await anyio.sleep(14_000)
        assert (await sdk.batches.retrieve(batch.id)).status == "expired"
        told = await results(sdk, batch.id)
        assert [line["error"] and line["error"]["code"] for line in told.values()] == [None] * 3 + ["batch_expired"] * 2


async def test_faults_of_batches_and_lines_work_while_forwarding() -> None:
    plan = FaultPlan((LineFault(kind="fail", lines=(1,), status=418), BatchFault(nth=(1,), ends="expired", after=0.5)))
    behind = Emulator()
    async with forwarding(behind, faults=plan) as (front, sdk):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(4)])
        assert (await _end_of(sdk, batch.id)).status == "expired"
        told = await results(sdk, batch.id)
        assert told["r0"]["response"]["status_code"] == 418
        assert echo_of(told["r1"]) == "r1"
        assert behind.statistics().realtime_calls == {CHAT: 1}
        assert front.statistics().billed == {"r1": 1}


async def test_real_time_calls_pass_through_with_the_callers_key() -> None:
    behind = Emulator(api_key="test-key")
    async with forwarding(behind) as (front, sdk):
        messages: Any = [{"role": "user", "content": "now"}]
        told = await sdk.chat.completions.create(model="m", messages=messages)
        assert told.choices[0].message.content == "now"
        assert len((await sdk.models.list()).data) == 2
        assert front.statistics().realtime_calls == behind.statistics().realtime_calls == {CHAT: 1}
        async with open_http(front) as http:
            body = {"model": "m", "messages": messages, "stream": True}
            async with http.stream(
                "POST", "/chat/completions", json=body, headers={"authorization": "Bearer test-key"}
            ) as response:
                lines = [line async for line in response.aiter_lines()]
            assert "data: [DONE]" in lines


@pytest.mark.proves("faults", "a call to a forwarding emulator that leads elsewhere")
async def test_only_known_endpoints_are_forwarded_and_nothing_that_leads_elsewhere() -> None:
    paths = ["../../admin", "%2e%2e/admin", "chat/completions/../../../admin", "..%2f..%2fadmin", "%252e%252e/admin"]
    paths += ["admin", "chat/completions/", "chat/completions%3fx", "v1/admin", "\\..\\admin", "//model.test/admin"]
    models = ["..", ".", "%2e%2e", "%252e%252e", "a/../../admin", "..%2f..%2fadmin", "..%5cadmin", "a//b", "a%0d%0ab"]
    asked: list[str] = []

    async def behind(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={})

    with Emulator(forward_to="http://model.test/v1", forward_transport=httpx.MockTransport(behind)) as front:
        async with anyio.create_task_group() as group:
            await group.start(front.run)
            for method, names in (("POST", paths), ("GET", [f"models/{model}" for model in models])):
                for name in names:
                    for prefix in ("/v1/", "/v4/", "/any/v1/"):
                        reply = await front.handle(Request(method, prefix + unquote(name), {}, {}, b"{}"))
                        if name.endswith("/"):  # the emulator itself knows it without the slash
                            assert asked.pop() == "/v1/chat/completions"
                            continue
                        assert (reply.status, asked) == (404, []), name
            assert front.statistics().realtime_calls == {CHAT: 3}
            for model, path in (("org/model-7b", "org/model-7b"), ("a?b#c%41", "a%3Fb%23c%2541"), ("é", "%C3%A9")):
                assert (await front.handle(Request("GET", f"/v1/models/{model}", {}, {}, b""))).status == 200
                assert asked.pop() == f"/v1/models/{path}"
            group.cancel_scope.cancel()


async def test_a_page_of_the_server_behind_is_passed_on_as_text() -> None:
    page = FaultPlan((HttpFault(status=404, body="<script>", headers={"content-type": "text/html"}),))
    async with forwarding(Emulator(faults=page)) as (front, _), open_http(front) as http:
        for answer in (await http.get("/models"), await http.post("/embeddings", json={})):
            assert (answer.status_code, answer.text) == (404, "<script>")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_key_that_no_header_can_hold_is_refused() -> None:
    async with forwarding(Emulator()) as (front, _):
        for key in ("ü", "a\x01"):
            reply = await front.handle(Request("GET", "/v1/models", {}, {"authorization": f"Bearer {key}"}, b""))
            assert reply.status == 401


async def test_without_its_tasks_a_forwarding_emulator_says_so() -> None:
    with Emulator(forward_to="http://model.test/v1") as emulator:
        async with open_http(emulator) as http:
            refused = await http.post("/chat/completions", json={})
            assert refused.status_code == 503
            assert "Emulator.run()" in refused.text


async def test_run_returns_at_once_from_an_emulator_that_does_not_forward() -> None:
    with anyio.fail_after(1):
        await Emulator().run()


def test_forwarding_needs_at_least_one_line_at_a_time() -> None:
    with pytest.raises(ValueError, match="forward_concurrency"):
        Emulator(forward_to="http://x/v1", forward_concurrency=0)
