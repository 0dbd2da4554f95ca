"""Requests that are over are gone: the garbage collector does not look at them, so they must be in no cycle."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import autobatcher.client.fast_path  # noqa: F401  (imports take memory, too)
from autobatcher.client.map_bodies import CHAT
from autobatcher.client.sdk import account_behind
from autobatcher.emulator import BatchFault, Fault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.request import Request
from tests.harness import Harness, ask, httpx_leaves_generators, open_harness, outcome_of, wait_for_event
from tests.receipts import GIVEN_PRICES

PROMPT = "x" * 1_000_000
"""One that stays is more than all that caches and pools keep."""


@contextmanager
def nothing_kept() -> Iterator[None]:
    """No prompt of this block is in memory after it."""
    tracemalloc.start()
    try:
        yield
        for thread in threading.enumerate():
            if thread.name == "autobatcher journal":
                thread.join()  # it may outlive its client: on virtual time its last seconds are none
        for _ in range(2):  # the first time, what raised exceptions lets go of requests, which refer to the engine
            gc.collect()
        assert tracemalloc.get_traced_memory()[0] < len(PROMPT)
    finally:
        tracemalloc.stop()


async def ask_three(harness: Harness, **settings: Any) -> list[Any]:
    outcomes: list[Any] = []

    async def call(text: str) -> None:
        outcomes.append(await outcome_of(ask(client, text)))

    async with harness.client(**settings) as client, anyio.create_task_group() as callers:
        for number in range(3):
            callers.start_soon(call, f"{number} {PROMPT}")
    return outcomes


ENDS: dict[str, tuple[Fault | None, dict[str, Any]]] = {
    "an answer": (None, {}),
    "an answer after a retry": (LineFault(kind="fail", status=500, batches=(1,)), {"max_retries": 1}),
    "an answer after a refused line": (LineFault(kind="refuse", lines=(2,)), {}),
    "a refused line": (LineFault(kind="fail", status=400), {}),
    "a line without an answer": (LineFault(kind="fail", code="bad"), {}),
    "a refused upload": (HttpFault(operation="files.create", status=401), {}),
    "no connection": (HttpFault(operation="files.create", refuse=True), {}),
    "a defect": (HttpFault(operation="files.create", status=200, body="1"), {}),
    "a failed batch": (BatchFault(ends="failed"), {}),
    "an unreadable batch": (HttpFault(operation="files.content", status=403), {}),
    "an answer long before its deadline": (None, {"deadline": "24h"}),
    "no money": (None, {"max_cost": 0.0001, "prices": GIVEN_PRICES}),
}


async def test_a_request_is_gone_once_its_caller_has_left_and_not_when_its_deadline_has_passed() -> None:
    async with open_harness() as harness, harness.client(deadline="24h") as client:
        with nothing_kept():
            async with anyio.create_task_group() as callers:
                for number in range(3):
                    callers.start_soon(outcome_of, ask(client, f"{number} {PROMPT}"))
                await anyio.sleep(0.5)
                callers.cancel_scope.cancel()
            del callers


@httpx_leaves_generators
@pytest.mark.parametrize("end", ENDS)
async def test_a_request_is_gone_once_it_is_settled(end: str) -> None:
    fault, settings = ENDS[end]
    with nothing_kept():
        async with open_harness(faults=FaultPlan((fault,) if fault else ())) as harness:
            outcomes = await ask_three(harness, **settings)
        del harness
        assert any(isinstance(outcome, str) for outcome in outcomes) == ("answer" in end and "without" not in end)
        del outcomes


@pytest.mark.parametrize("where", ["in a window", "in a batch", "in a client that closes"])
async def test_a_request_is_gone_once_its_caller_has_left(where: str) -> None:
    with nothing_kept():
        async with (
            open_harness(batch_seconds=1_000) as harness,
            harness.client() as client,
            anyio.create_task_group() as callers,
        ):
            for number in range(3):
                callers.start_soon(outcome_of, ask(client, f"{number} {PROMPT}"))
            await (anyio.sleep(0.5) if where == "in a window" else wait_for_event(harness, "batch_submitted"))
            if where == "in a client that closes":
                await client.close()
            callers.cancel_scope.cancel()
        del harness, callers, client


@httpx_leaves_generators
async def test_requests_of_a_map_are_gone_once_it_was_left(tmp_path: Path) -> None:
    with nothing_kept():
        fault = LineFault(kind="fail", code="bad", lines=(1,))
        settings: dict[str, Any] = {"batch_size": 2, "journal": tmp_path / "journal.sqlite3"}
        async with open_harness(faults=FaultPlan((fault,))) as harness, harness.client(**settings) as client:
            bodies = ({"model": "m", "messages": [{"role": "user", "content": f"{n} {PROMPT}"}]} for n in range(8))
            async with client.map(bodies, ahead=4) as results:
                async for result in results:
                    if result.exception is None:
                        break
        del harness, client, results, result, bodies


async def test_an_answered_request_is_gone_without_the_garbage_collector() -> None:
    gone: list[weakref.ref[Callable[..., None]]] = []
    gc.disable()
    try:
        async with open_harness() as harness, harness.client() as client, anyio.create_task_group() as callers:
            for _ in range(3):
                request = Request(account=account_behind(client), endpoint=CHAT, body=b'{"model":"m"}', model="m")
                request.on_undelivered = lambda _: None  # it has this alone, and gives it back only if asked to
                gone.append(weakref.ref(request.on_undelivered))
                callers.start_soon(client._engine.host.submit, request)
            del request
        assert [reference() for reference in gone] == [None] * 3
    finally:
        gc.enable()
