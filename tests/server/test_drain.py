"""A proxy that is told to stop: what runs is answered, and nothing new is taken."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
import trio
import trio.testing

from autobatcher import BatchOpenAI
from autobatcher.server import CallLimits, Drain, Report, create_app
from autobatcher.server.drain import UNCLAIMED_SECONDS
from tests.harness import Harness, open_harness, wait_for_event
from tests.server.proxies import HOSTS, open_proxy

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

CHAT_PATH = "/v1/chat/completions"
LIMIT = 30


def chat(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


class World(NamedTuple):
    """A proxy without sockets."""

    harness: Harness
    client: BatchOpenAI
    report: Report
    http: httpx.AsyncClient


@asynccontextmanager
async def open_world(emulator: dict[str, Any], **settings: Any) -> AsyncGenerator[World]:
    async with open_harness(**emulator) as harness, harness.client(**settings) as client:
        report = Report()
        app: Any = create_app(client, report=report, hosts=HOSTS)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            yield World(harness, client, report, http)


@pytest.mark.proves("faults", "a proxy with `--drain` is told to stop while calls wait")
async def test_what_waits_is_answered_at_once_and_nothing_new_is_taken() -> None:
    async with open_world({"batch_seconds": 100}, batch_window_seconds=86_400) as world:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await world.http.post(CHAT_PATH, json=chat("early")))

        drain, begun = Drain(world.report, 1_000), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(drain.run, world.client)
            await wait_for_event(world.harness, "batch_submitted")  # its window would have been open for a day
            late = await world.http.post(CHAT_PATH, json=chat("late"))
            pages = {
                path: (await world.http.get(path)).status_code
                for path in ("/", "/health", "/status", "/metrics", "/ready")
            }
            ready = (await world.http.get("/ready")).json()
            status = (await world.http.get("/status")).json()
        assert [answer.status_code for answer in answers] == [200]
        assert 100 <= trio.current_time() - begun < 110  # as soon as the last one is answered
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert "x-should-retry" not in late.headers  # SDKs ask again by themselves
        assert late.json()["error"]["code"] == "shutting_down"
        assert late.json()["error"]["message"].startswith("This proxy is shutting down")
        assert pages == {"/": 200, "/health": 200, "/status": 200, "/metrics": 200, "/ready": 503}
        assert ready == {"ready": False, "reason": "shutting down"}
        assert status["is_draining"]
        assert world.harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("hurried_after", [None, 20.0])
async def test_a_drain_ends_when_its_time_is_up_or_when_it_is_hurried(hurried_after: float | None) -> None:
    async with open_world({"batch_seconds": 500}) as world, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: world.http.post(CHAT_PATH, json=chat("x")))
        await wait_for_event(world.harness, "batch_submitted")
        drain, begun = Drain(world.report, 60), trio.current_time()
        if hurried_after is not None:
            assert not drain.hurry()  # it has not begun
            nursery.start_soon(_hurry_after, drain, hurried_after)
        await drain.run(world.client)
        assert trio.current_time() - begun == pytest.approx(hurried_after or 60)
        nursery.cancel_scope.cancel()


async def _hurry_after(drain: Drain, seconds: float) -> None:
    await trio.sleep(seconds)
    assert drain.hurry()


async def test_without_a_drain_no_window_is_sent_for_a_proxy_that_stops() -> None:
    async with open_world({}, batch_window_seconds=100) as world, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: world.http.post(CHAT_PATH, json=chat("x")))
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        await Drain(world.report).run(world.client)
        assert trio.current_time() == begun
        await trio.sleep(10)
        assert world.harness.emulator.statistics().batches_created == 0
        nursery.cancel_scope.cancel()


async def test_a_stop_says_who_can_simply_retry_and_who_may_pay_twice() -> None:
    async with open_world({"batch_seconds": 500}, batch_window_seconds=10) as world:
        answers: dict[str, httpx.Response] = {}

        async def ask(text: str) -> None:
            answers[text] = await world.http.post(CHAT_PATH, json=chat(text))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "sent")
            await wait_for_event(world.harness, "batch_submitted")
            nursery.start_soon(ask, "not sent")
            await trio.testing.wait_all_tasks_blocked()
            await world.client.close()
        assert [answer.status_code for answer in answers.values()] == [503, 503]
        messages = {text: answer.json()["error"]["message"] for text, answer in answers.items()}
        assert all(message.startswith("This proxy is shutting down") for message in messages.values())
        assert answers["sent"].headers["x-should-retry"] == "false"
        assert "billed" in messages["sent"]
        assert "x-should-retry" not in answers["not sent"].headers
        assert answers["not sent"].headers["retry-after"] == "1"


@pytest.mark.real_time
async def test_a_client_that_went_away_gets_its_answer_from_a_proxy_that_drains() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 1}, drain_seconds=LIMIT) as proxy, proxy.http() as client:
            await _leave(client, 0.2)
            await wait_for_event(proxy.harness, "batch_submitted")
            proxy.stop.set()
            await trio.testing.wait_all_tasks_blocked()
            new = await client.post(CHAT_PATH, json=chat("new"))
            assert (new.status_code, new.headers["connection"]) == (503, "close")  # its next one goes elsewhere
            await _leave(client, 0.2)
            await wait_for_event(proxy.harness, "batch_completed")
            answer = await client.post(CHAT_PATH, json=chat("x"))
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            begun = trio.current_time()
        assert trio.current_time() - begun < UNCLAIMED_SECONDS / 2  # it waits for nobody else
        assert proxy.harness.emulator.statistics().batches_created == 1


@pytest.mark.real_time
async def test_over_http_2_a_refused_call_does_not_end_those_beside_it() -> None:
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(emulator={"batch_seconds": 1}, drain_seconds=LIMIT) as proxy,
            proxy.http(http1=False, http2=True) as client,
            trio.open_nursery() as nursery,
        ):
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await client.post(CHAT_PATH, json=chat("x")))

            nursery.start_soon(ask)
            await wait_for_event(proxy.harness, "batch_submitted")
            proxy.stop.set()
            await trio.testing.wait_all_tasks_blocked()
            assert (await client.post(CHAT_PATH, json=chat("new"))).status_code == 503
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.real_time
async def test_an_answer_that_nobody_comes_back_for_does_not_take_the_whole_drain() -> None:
    with trio.fail_after(LIMIT / 2):
        async with open_proxy(drain_seconds=LIMIT, batch_window_seconds=LIMIT) as proxy, proxy.http() as client:
            proxy.drain.unclaimed_seconds = 0.5
            await _leave(client, 0.2)
            proxy.stop.set()
    assert len(proxy.harness.events_named("batch_completed")) == 1


@pytest.mark.real_time
async def test_when_no_client_can_come_back_calls_are_answered_however_long_that_takes() -> None:
    with trio.fail_after(LIMIT):
        limits = {"limits": CallLimits(grace_seconds=0.2)}
        async with (
            open_proxy(emulator={"batch_seconds": 1}, app=limits, drain_seconds=LIMIT) as proxy,
            proxy.http() as client,
        ):
            await _leave(client, 0.1)
            proxy.drain.expect_nobody()
            proxy.stop.set()
            begun = trio.current_time()
        assert trio.current_time() - begun < UNCLAIMED_SECONDS / 2
    assert len(proxy.harness.events_named("batch_completed")) == 1


async def _leave(client: httpx.AsyncClient, seconds: float) -> None:
    """Ask, and lose patience after so many seconds."""
    with trio.move_on_after(seconds):
        await client.post(CHAT_PATH, json=chat("x"))
