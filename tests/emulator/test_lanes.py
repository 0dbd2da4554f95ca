"""Real-time calls on their service tiers, what goes wrong with them, and who was billed for what."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from autobatcher.emulator import BatchFault, Emulator, Fault, FaultPlan, HttpFault, LineFault, LogNormal, Recorded

from .doors import CHAT, chat_line, create_batch, line, open_http, open_sdk

BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "/responses": {"model": "m", "input": "hello"},
    "/embeddings": {"model": "m", "input": "hello"},
}
FLEX = {"service_tier": "flex"}


def _emulator(*faults: Fault, **settings: Any) -> Emulator:
    return Emulator(faults=FaultPlan(faults), **settings)


async def _call(http: httpx.AsyncClient, path: str = "/chat/completions", **more: Any) -> httpx.Response:
    return await http.post(path, json={**BODIES[path], **more})


def _lanes(emulator: Emulator) -> dict[str, int]:
    return Counter(billed.lane for billed in emulator.ledger())


# Tiers


@pytest.mark.parametrize(
    ("asked", "given", "lane"),
    [
        ({}, "default", "realtime"),
        ({"service_tier": "auto"}, "default", "realtime"),
        ({"service_tier": "priority"}, "priority", "realtime"),
        (FLEX, "flex", "flex"),
    ],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
async def test_an_answer_says_at_which_tier_it_was_billed(path: str, asked: Any, given: str, lane: str) -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            assert (await _call(http, path, **asked)).json()["service_tier"] == given
        assert _lanes(emulator) == {lane: 1}
        seen = emulator.statistics()
        assert (seen.flex_calls, seen.realtime_calls) == (
            ({f"/v1{path}": 1}, {}) if asked == FLEX else ({}, {f"/v1{path}": 1})
        )


@pytest.mark.parametrize(
    ("like", "path", "status", "billed"),
    [
        ("openai", "/embeddings", 400, {}),
        ("azure", "/embeddings", 400, {}),
        ("azure", "/responses", 200, {"flex": 1}),
        ("doubleword", "/chat/completions", 200, {"flex": 1}),
        ("doubleword", "/embeddings", 200, {"realtime": 1}),
        ("groq", "/chat/completions", 200, {"realtime": 1}),
    ],
)
async def test_flex_is_what_the_provider_makes_of_it(like: Any, path: str, status: int, billed: Any) -> None:
    with Emulator(like=like) as emulator:
        async with open_http(emulator) as http:
            answer = await _call(http, path, **FLEX)
            assert answer.status_code == status
            assert answer.json().get("service_tier", "none") == ("flex" if "flex" in billed else _untold(path, answer))
        assert _lanes(emulator) == billed


def _untold(path: str, answer: httpx.Response) -> str:
    return "none" if path == "/embeddings" or answer.status_code == 400 else "default"


async def test_a_plan_bills_a_flex_call_as_real_time() -> None:
    with _emulator(HttpFault(operation="flex", nth=(2,), service_tier="default")) as emulator:
        async with open_http(emulator) as http:
            tiers = [(await _call(http, **FLEX)).json()["service_tier"] for _ in range(3)]
        assert tiers == ["flex", "default", "flex"]
        assert [billed.lane for billed in emulator.ledger()] == ["flex", "realtime", "flex"]


async def test_a_streamed_flex_call_is_billed_as_flex() -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            assert "[DONE]" in (await _call(http, stream=True, **FLEX)).text
        assert _lanes(emulator) == {"flex": 1}


# Faults


async def test_flex_has_no_room_for_some_calls_while_real_time_has() -> None:
    fault = HttpFault(
        operation="flex",
        first=2,
        status=429,
        code="resource_unavailable",
        message="Resource unavailable.",
        headers={"Retry-After": "3"},
    )
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            assert (await _call(http)).status_code == 200
            refused = await _call(http, **FLEX)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
            assert refused.json()["error"]["code"] == "resource_unavailable"
            assert refused.json()["error"]["message"] == "Resource unavailable."
            assert [(await _call(http, **FLEX)).status_code for _ in range(2)] == [429, 200]
        assert _lanes(emulator) == {"realtime": 1, "flex": 1}
        assert emulator.statistics().http_calls == {"realtime": 1, "flex": 3}


async def test_flex_has_no_room_for_a_time() -> None:
    fault = HttpFault(operation="flex", from_seconds=60, until_seconds=180, status=429)
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            statuses = []
            for _ in range(5):
                statuses.append((await _call(http, **FLEX)).status_code)
                await anyio.sleep(50)
            assert statuses == [200, 200, 429, 429, 200]


async def test_a_fault_hits_the_calls_that_contain_a_text() -> None:
    with _emulator(HttpFault(operation="flex", containing='"model":"old"', status=400)) as emulator:
        async with open_http(emulator) as http:
            statuses = [(await _call(http, model=model, **FLEX)).status_code for model in ("new", "old")]
            assert statuses == [200, 400]


async def test_calls_take_their_time() -> None:
    settings: dict[str, Any] = {"realtime_seconds": 2.0, "flex_seconds": Recorded((30, 300))}
    with Emulator(**settings) as emulator:
        async with open_http(emulator) as http:
            start = anyio.current_time()
            for asked in ({}, FLEX, FLEX):
                await _call(http, **asked)
            assert anyio.current_time() - start == pytest.approx(332)


async def test_statistics_tell_how_many_calls_ran_at_once() -> None:
    with Emulator(flex_seconds=Recorded((10, 30))) as emulator:
        async with open_http(emulator) as http, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(partial(_call, http, **FLEX))
            await anyio.sleep(20)
            group.start_soon(_call, http)
            group.start_soon(partial(_call, http, **FLEX))
        assert emulator.statistics().most_calls_at_once == {"flex": 3}


async def test_the_delays_of_a_fault_come_in_turn() -> None:
    fault = HttpFault(operation="flex", delay_seconds=Recorded((5, 50)))
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            await _call(http)
            taken = []
            for _ in range(3):
                start = anyio.current_time()
                await _call(http, **FLEX)
                taken.append(anyio.current_time() - start)
            assert taken == pytest.approx([5, 50, 5])


async def test_delays_follow_a_distribution() -> None:
    with _emulator(HttpFault(delay_seconds=LogNormal(median_seconds=2, p90_seconds=20))) as emulator:
        async with open_http(emulator) as http:
            taken = []
            for _ in range(50):
                start = anyio.current_time()
                await _call(http)
                taken.append(anyio.current_time() - start)
            assert len(set(taken)) == 50
            assert 10 < sum(seconds < 2 for seconds in taken) < 40


@pytest.mark.parametrize(
    ("fault", "billed"),
    [
        (HttpFault(operation="flex", refuse=True), {}),
        (HttpFault(operation="flex", disconnect=True), {}),
        (HttpFault(operation="flex", lose_answer=True), {"flex": 1}),
        (HttpFault(operation="flex", lose_answer=True, service_tier="default"), {"realtime": 1}),
    ],
)
async def test_a_call_whose_connection_broke_is_billed_if_it_was_executed(fault: HttpFault, billed: Any) -> None:
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            with pytest.raises(httpx.TransportError):
                await _call(http, **FLEX)
        assert _lanes(emulator) == billed


@pytest.mark.parametrize(("after_processing", "billed"), [(False, {}), (True, {"flex": 1})])
async def test_a_server_error_is_billed_only_after_processing(after_processing: bool, billed: Any) -> None:
    with _emulator(HttpFault(operation="flex", status=503, after_processing=after_processing)) as emulator:
        async with open_http(emulator) as http:
            assert (await _call(http, **FLEX)).status_code == 503
        assert _lanes(emulator) == billed


async def test_a_call_that_was_given_up_while_it_ran_is_billed() -> None:
    with Emulator(flex_seconds=60) as emulator:
        async with open_http(emulator) as http:
            with anyio.move_on_after(30):
                await _call(http, **FLEX)
        assert _lanes(emulator) == {"flex": 1}


async def test_a_call_that_is_answered_with_an_error_is_not_billed() -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            assert (await _call(http, model="fail-400", **FLEX)).status_code == 400
        assert emulator.ledger() == ()


# The ledger


async def test_the_ledger_knows_a_request_again_on_every_lane() -> None:
    body = BODIES["/chat/completions"]
    with Emulator(batch_seconds=10) as emulator:
        async with open_http(emulator) as http, open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [line("a", CHAT, body)])
            await anyio.sleep(20)
            await _call(http, **FLEX)
            await anyio.sleep(5)
            await _call(http, stream=True)
        batched, flex, realtime = ledger = emulator.ledger()
        assert [billed.lane for billed in ledger] == ["batch", "flex", "realtime"]
        assert len({billed.digest for billed in ledger}) == 1
        assert {(billed.endpoint, billed.model, billed.text) for billed in ledger} == {(CHAT, "m", "hello")}
        assert (batched.batch_id, batched.custom_id, flex.batch_id) == (batch.id, "a", "")
        assert [flex.at - batched.at, realtime.at - flex.at] == pytest.approx([10, 5])


async def test_the_ledger_tells_other_requests_apart() -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            for path in ("/responses", "/embeddings"):
                await _call(http, path)
            await _call(http, "/responses", input=[{"role": "user", "content": "in a message"}])
            await _call(http, "/embeddings", input=["two", "texts"])
        ledger = emulator.ledger()
        assert len({billed.digest for billed in ledger}) == 4
        assert [billed.text for billed in ledger] == ["hello", "hello", "in a message", '["two","texts"]']


async def test_the_ledger_has_lines_whose_results_were_lost() -> None:
    faults = (
        LineFault(kind="drop", lines=(1,), billed=True),
        LineFault(kind="drop", lines=(2,)),
        LineFault(kind="fail", lines=(3,)),
        BatchFault(ends="expired", after=0.8),
    )
    with _emulator(*faults, shuffle=False) as emulator:
        async with open_sdk(emulator) as sdk:
            await create_batch(sdk, [chat_line(f"r{i}") for i in range(5)])
        assert [billed.custom_id for billed in emulator.ledger()] == ["r0", "r3"]


async def test_the_ledger_spells_endpoints_as_openai_does() -> None:
    with Emulator(like="zhipu") as emulator:
        async with open_sdk(emulator) as sdk:
            url = "/v4/chat/completions"
            await create_batch(sdk, [{**chat_line("a"), "url": url}], endpoint=url)
        assert [billed.endpoint for billed in emulator.ledger()] == [CHAT]


async def test_a_server_behind_the_emulator_is_billed_too() -> None:
    with (
        Emulator() as behind,
        Emulator(forward_to="http://model.test/v1", forward_transport=behind.transport()) as front,
    ):
        async with anyio.create_task_group() as group:
            await group.start(front.run)
            async with open_http(front) as http:
                await _call(http, **FLEX)
                await _call(http, model="fail-400")
            group.cancel_scope.cancel()
        assert _lanes(front) == _lanes(behind) == {"flex": 1}
