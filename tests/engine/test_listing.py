"""Batches that are polled at about the same time share a list, which is believed no further than it deserves."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.engine.batch.listing import LISTED_FROM, Listing
from autobatcher.engine.batch.upstream import UpstreamBatch
from autobatcher.engine.emitter import Emitter
from autobatcher.engine.fair_limiter import FairLimiter
from autobatcher.engine.settings import Settings
from autobatcher.upstream.account import Account
from autobatcher.upstream.batch_state import BatchState
from autobatcher.upstream.failures import UpstreamError
from autobatcher.upstream.providers import OPENAI
from tests.engine.test_faults_of_the_upstream import ask_many, check_answers
from tests.harness import HTTP, Harness, Send, ask, between, open_harness

USELESS = "the list of batches fails, hangs, is wrong, or shows less than each batch itself does"
SECONDS, INTERVAL = 600, 5.0
EACH_ALONE: dict[str, Any] = {"batch_size": 1, "poll_interval_seconds": INTERVAL}


def calls_of(harness: Harness, operation: str) -> int:
    return harness.emulator.statistics().http_calls.get(operation, 0)


def is_list(request: Any) -> bool:
    return bool(request.method == "GET" and request.url.path.endswith("/batches"))


@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_many_batches_are_polled_by_one_list(like: str) -> None:
    async with open_harness(like, batch_seconds=SECONDS) as harness:
        check_answers(await ask_many(harness, 20, **EACH_ALONE))
        assert anyio.current_time() < SECONDS + 3 * INTERVAL
        assert 1 < calls_of(harness, "batches.list") <= SECONDS / INTERVAL + 5
        assert calls_of(harness, "batches.retrieve") <= 20 * 6  # now and then, and at the end


async def test_lines_come_as_soon_as_a_list_shows_that_they_are_done() -> None:
    waited: list[float] = []
    async with (
        open_harness("doubleword", batch_seconds=SECONDS) as harness,
        harness.client(batch_size=20, poll_interval_seconds=INTERVAL) as client,
        anyio.create_task_group() as callers,
    ):

        async def call(text: str) -> None:
            await ask(client, text)
            waited.append(anyio.current_time())

        for number in range(80):
            callers.start_soon(call, str(number))
    for number, seconds in enumerate(waited):
        assert seconds <= (number // 4 + 1) * SECONDS / 20 + 3 * INTERVAL
    assert calls_of(harness, "batches.retrieve") <= 4 * 6


async def test_a_list_is_read_page_by_page_as_long_as_that_saves_polls() -> None:
    pages = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal pages
        if not is_list(request):
            return await send(request)
        pages += 1
        return await send(HTTP.Request("GET", request.url.copy_set_param("limit", "4"), headers=request.headers))

    async with open_harness(batch_seconds=SECONDS) as harness:
        upstream = between(harness, answer)
        async with harness.client(batch_size=1) as others, anyio.create_task_group() as callers:
            for number in range(12):  # they are older than all of ours
                callers.start_soon(ask, others, str(number))
            await anyio.sleep(100)
            check_answers(await ask_many(harness, 9, http_client=upstream, **EACH_ALONE))
        assert pages <= 2 * SECONDS / INTERVAL  # two of three: the ninth batch is polled
        assert calls_of(harness, "batches.retrieve") > SECONDS / INTERVAL / 6


async def test_few_batches_are_polled_without_a_list() -> None:
    async with open_harness(batch_seconds=60) as harness:
        check_answers(await ask_many(harness, LISTED_FROM - 1, **EACH_ALONE))
        assert calls_of(harness, "batches.list") == 0


# ---- lists that are wrong ----


def rewritten(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Any, Send], Awaitable[Any]]:
    """An upstream whose lists are changed on the way."""

    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if not is_list(request):
            return response
        page = json.loads(await response.aread())
        return HTTP.Response(200, json={**page, "data": change(page["data"])})

    return answer


def frozen() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    first: list[dict[str, Any]] = []

    def change(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first.extend(() if first else batches)
        return first

    return change


def each_with(**fields: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda batches: [{**batch, **fields} for batch in batches]


WRONG_LISTS = {
    "empty": lambda batches: [],
    "another id": lambda batches: [{**batch, "id": f"other_{batch['id']}"} for batch in batches],
    "without counts": each_with(request_counts=None),
    "without a status": each_with(status=None),
    "all completed": each_with(status="completed", output_file_id=None),
    "all failed": each_with(status="failed"),
}


@pytest.mark.proves("faults", USELESS)
@pytest.mark.parametrize("wrong", list(WRONG_LISTS))
async def test_a_list_that_is_wrong_costs_a_few_calls_and_no_answer(wrong: str) -> None:
    async with open_harness(batch_seconds=SECONDS) as harness:
        upstream = between(harness, rewritten(WRONG_LISTS[wrong]))
        check_answers(await ask_many(harness, 5, http_client=upstream, **EACH_ALONE))
        assert anyio.current_time() < SECONDS + 8 * INTERVAL
        assert calls_of(harness, "batches.list") <= 4
        assert set(harness.emulator.statistics().billed.values()) == {1}


@pytest.mark.proves("faults", USELESS)
@pytest.mark.parametrize(
    "fault", [{"status": 404}, {"status": 500}, {"body": "<html>", "status": 200}, {"delay_seconds": 1e4}], ids=str
)
async def test_a_list_that_fails_is_not_asked_for_again_and_again(fault: dict[str, Any]) -> None:
    async with open_harness(
        batch_seconds=SECONDS, faults=FaultPlan((HttpFault(operation="batches.list", **fault),))
    ) as harness:
        check_answers(await ask_many(harness, 5, **EACH_ALONE))
        assert anyio.current_time() < SECONDS + 8 * INTERVAL
        assert calls_of(harness, "batches.list") == 3


@pytest.mark.proves("faults", USELESS)
async def test_a_list_that_never_changes_hides_no_end_for_long() -> None:
    async with open_harness(batch_seconds=60) as harness:
        check_answers(await ask_many(harness, 5, http_client=between(harness, rewritten(frozen())), **EACH_ALONE))
        assert anyio.current_time() < 60 + 60
        check_answers(await ask_many(harness, 5, http_client=between(harness, rewritten(frozen())), **EACH_ALONE))


async def test_a_batch_that_the_list_lacks_is_polled() -> None:
    async with open_harness(batch_seconds=SECONDS) as harness:
        upstream = between(harness, rewritten(lambda batches: batches[:-1]))
        check_answers(await ask_many(harness, 5, http_client=upstream, **EACH_ALONE))
        assert anyio.current_time() < SECONDS + 8 * INTERVAL
        assert calls_of(harness, "batches.list") > 9


async def test_each_account_has_its_own_list() -> None:
    keys: set[str] = set()

    async def answer(request: Any, send: Send) -> Any:
        """Each key sees the batches of its own; those of others look as if they had just begun."""
        response = await send(request)
        key = request.headers["authorization"]
        if request.method == "POST" and request.url.path.endswith("/batches"):
            makers[json.loads(await response.aread())["id"]] = key
        if not is_list(request):
            return response
        keys.add(key)
        page = json.loads(await response.aread())
        data = [each if makers[each["id"]] == key else {**each, "status": "validating"} for each in page["data"]]
        return HTTP.Response(200, json={**page, "data": data})

    makers: dict[str, str] = {}
    async with open_harness(batch_seconds=SECONDS) as harness:
        settings = {"http_client": between(harness, answer), **EACH_ALONE}
        async with harness.client(**settings) as client, anyio.create_task_group() as callers:
            for number in range(8):
                callers.start_soon(ask, client.with_options(api_key=f"key-{number % 2}"), str(number))
        assert anyio.current_time() < SECONDS + 8 * INTERVAL
        assert keys == {"Bearer key-0", "Bearer key-1"}
        assert calls_of(harness, "batches.retrieve") <= 8 * 6


# ---- one list at a time ----


class Lists:
    """A Batch API that lists three running batches after a second, or fails to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked = 0
        self._fails = fails

    async def newest_batches(self, account: Account, after: str | None) -> tuple[list[BatchState], str | None]:
        self.asked += 1
        await anyio.sleep(1)
        if self._fails:
            raise UpstreamError("no list")
        return [BatchState(id=name, status="in_progress") for name in "abc"], None


@contextmanager
def watched_listing(lists: Any) -> Iterator[Listing]:
    account = Account(base_url="http://upstream.test/v1", provider=OPENAI)
    listing = Listing(lists, FairLimiter(8), account, lambda batch_id: None)
    with ExitStack() as watched:
        for name in "abc":
            batch = UpstreamBatch(
                account, "/v1/embeddings", name, api=lists, settings=Settings(), emit=Emitter(None, float)
            )
            batch.adopt(BatchState(id=name, status="validating"))
            watched.enter_context(listing.watching(batch))
        yield listing


@pytest.mark.parametrize("leaves", [True, False])
async def test_those_who_wait_for_a_list_ask_for_it_themselves_if_who_asked_leaves(leaves: bool) -> None:
    lists, found = Lists(), []

    async def ask_first() -> None:
        with anyio.move_on_after(0.5 if leaves else 5):
            await listing.running_state("a", 2.5)

    async def join(name: str) -> None:
        await anyio.sleep(0.1)
        found.append(await listing.running_state(name, 2.5))

    with watched_listing(lists) as listing:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask_first)
            nursery.start_soon(join, "b")
            nursery.start_soon(join, "c")
    assert [state.status for state in found if state] == ["in_progress", "in_progress"]
    assert lists.asked == 1 + leaves


async def test_a_list_that_fails_fails_for_all_who_wait_for_it() -> None:
    lists, found = Lists(fails=True), []

    async def join(name: str) -> None:
        found.append(await listing.running_state(name, 2.5))

    with watched_listing(lists) as listing:
        async with anyio.create_task_group() as nursery:
            for name in "abc":
                nursery.start_soon(join, name)
    assert found == [None, None, None]
    assert lists.asked == 1
