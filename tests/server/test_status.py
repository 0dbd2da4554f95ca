"""What `/status` says of batches, of what waits, and of the last minutes."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import trio

from autobatcher import events
from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.progress import BatchProgress
from autobatcher.server import Report
from autobatcher.server.batch_rows import batch_rows, chosen
from autobatcher.server.history import MINUTE, MINUTES, Counts, History
from tests.receipts import BILLED_PRICES, GIVEN_PRICES
from tests.server.proxies import open_proxy

LIMIT = 20
CHAT = "/v1/chat/completions"
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


def body(model: str, text: str = "hello") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


@pytest.mark.real_time
@on_trio
async def test_a_batch_says_what_it_asks_what_failed_and_what_it_was_billed() -> None:
    report = Report()
    watched: dict[str, Any] = {"app": {"report": report}, "batch_event_handler": report.take_event}
    emulator = {"prices": BILLED_PRICES, "faults": FaultPlan((LineFault(kind="fail", status=422, containing="bad"),))}
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator=emulator, prices=GIVEN_PRICES, **watched) as proxy, proxy.http() as http:
            async with trio.open_nursery() as callers:
                for model, text in (("m", "good"), ("m", "bad"), ("m", "fine"), ("n", "good")):
                    callers.start_soon(partial(http.post, CHAT, json=body(model, text)))
            status = (await http.get("/status")).json()
            bill = proxy.harness.emulator.bill()
    rows = {row["models"][0]: row for row in status["batches"]}
    assert {name: (row["total"], row["answered"], row["failed"]) for name, row in rows.items()} == {
        "m": (3, 2, 1),
        "n": (1, 1, 0),
    }
    for row in rows.values():
        assert (row["endpoint"], row["lane"], row["completion_window"]) == (CHAT, "batch", "24h")
        billed = sum(entry.cost for entry in bill.entries if entry.batch_id == row["id"])
        assert Decimal(row["cost"]) == billed > 0
        assert row["unpriced_requests"] == 0


@pytest.mark.real_time
@pytest.mark.full_price
@on_trio
async def test_what_waits_is_told_by_endpoint_model_and_lane() -> None:
    emulator = {"batch_seconds": 600, "realtime_seconds": 600}
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(
                emulator=emulator, has_lanes=True, lanes=("batch", "realtime"), batch_size=2, batch_window_seconds=600
            ) as proxy,
            proxy.http() as http,
            trio.open_nursery() as callers,
        ):
            hurried = {"x-autobatcher-deadline": "5m"}
            for model, headers in (("m", {}), ("m", {}), ("m", {}), ("n", {}), ("n", hurried)):
                callers.start_soon(partial(http.post, CHAT, json=body(model), headers=headers))
            kinds: list[dict[str, Any]] = []
            while sum(kind["under_way"] for kind in kinds) < 3 or sum(kind["queued"] for kind in kinds) < 2:
                kinds = (await http.get("/status")).json()["queue"]["kinds"]
                await trio.sleep(0.1)
            callers.cancel_scope.cancel()
    told = {(kind["model"], kind["lane"]): (kind["queued"], kind["under_way"]) for kind in kinds}
    assert told == {("m", "batch"): (1, 2), ("n", "batch"): (1, 0), ("n", "realtime"): (0, 1)}
    assert {kind["endpoint"] for kind in kinds} == {CHAT}
    oldest = {(kind["model"], kind["lane"]): kind["oldest_queued_seconds"] for kind in kinds}
    assert oldest.pop(("n", "realtime")) is None
    assert all(0 <= seconds < LIMIT for seconds in oldest.values())


@pytest.mark.real_time
@on_trio
async def test_callers_with_many_models_make_no_long_table() -> None:
    async with open_proxy(batch_window_seconds=600) as proxy, proxy.http() as http, trio.open_nursery() as callers:
        with trio.fail_after(LIMIT):
            for number in range(25):
                callers.start_soon(partial(http.post, CHAT, json=body(f"{number}\x1b" + 900 * "m")))
            while (seen := proxy.client.batch_statistics()) is None or seen.queued_requests < 25:  # noqa: ASYNC110  (as a user would)
                await trio.sleep(0.01)
            queue = (await http.get("/status")).json()["queue"]
            callers.cancel_scope.cancel()
    assert (len(queue["kinds"]), queue["kinds_left_out"]) == (20, 5)
    assert all(len(kind["model"]) < 200 and kind["model"].isprintable() for kind in queue["kinds"])


def batch(number: int, ended: float | None) -> BatchProgress:
    return BatchProgress(number, f"batch_{number}", 1, 0.0, ended=ended)


def test_no_batch_that_runs_gives_way_to_one_that_has_ended() -> None:
    batches = {f"batch_{i}": batch(i, ended=None if i in (2, 7) else 1.0) for i in range(10_000)}
    shown = chosen(batches, 4)
    assert [each.number for each in shown] == [9_999, 9_998, 7, 2]
    assert {row["cost"] for row in batch_rows(shown, 2.0, {}, {})} == {None}
    assert [each.number for each in chosen(batches, 1)] == [7]


def test_of_many_models_of_a_batch_few_are_kept() -> None:
    """Callers choose their names, and how many there are."""
    report = Report()
    models = [f"{number}\x1b{5_000 * 'm'}" for number in range(10_000)]
    fields: dict[str, Any] = {"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h", "metadata": {}}
    submitted = events.BatchSubmitted(ts=0.0, batch_id="b", request_count=10_000, models=models, **fields)
    report.progress.take(submitted, 0.0)
    (row,) = batch_rows(report.progress.batches.values(), 1.0, {}, {})
    assert (len(row["models"]), row["models_left_out"]) == (3, 9_997)
    assert all(len(model) < 200 and model.isprintable() for model in row["models"])
    assert len(repr(report.progress.batches)) < 1_000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@on_trio
async def test_the_last_minutes_are_kept_and_a_pause_is_a_gap() -> None:
    counts = Counts(0, 0, 0)
    history = History(lambda: counts)
    assert history.fields(Counts(7, 1, 0))["waiting"] == [7]  # before it runs
    async with trio.open_nursery() as nursery:
        await nursery.start(history.run)
        counts = Counts(5, 10, 1)
        await trio.sleep(1.01 * MINUTE)
        counts = Counts(3, 12, 4)
        await trio.sleep(MINUTE)
        counts = Counts(4, 20, 4)
        told = history.fields(counts)
        assert told["waiting"] == [5, 3, 4]
        assert (told["answered"], told["failed"]) == ([10, 2, 8], [1, 3, 0])  # of each minute, not since the start
        await trio.sleep(2 * MINUTES * MINUTE)
        nursery.cancel_scope.cancel()
    assert len(history.fields(counts)["waiting"]) == MINUTES + 1


def test_minutes_in_which_the_process_was_paused_are_unknown() -> None:
    clock = Clock()
    counts = Counts(1, 2, 3)
    history = History(lambda: counts, clock)
    history.begin()
    for clock.now in (MINUTE, 4.5 * MINUTE, 5.0 * MINUTE):
        history.sample()
    assert history.fields(counts)["waiting"] == [1, None, None, 1, 1, 1]
    clock.now = 1e9
    history.sample()
    assert len(history.fields(counts)["answered"]) == MINUTES + 1
