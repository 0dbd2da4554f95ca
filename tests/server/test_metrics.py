"""What `/metrics` tells, and that nobody can make it large."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
import trio

from autobatcher import events
from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.money.ledger import Fate
from autobatcher.money.receipt import Receipt, ReceiptRow
from autobatcher.money.usage import Usage
from autobatcher.server import CallLimits, Report
from autobatcher.server.batch_counts import BatchCounts
from autobatcher.server.billed_sums import BilledSums
from autobatcher.server.histogram import Histogram
from autobatcher.server.labels import MOST_MODELS, ModelLabels, lane_label
from autobatcher.server.metrics import Metrics
from autobatcher.server.metrics_catalogue import CATALOGUE
from autobatcher.server.upstream_calls import call_name
from tests.harness import open_harness
from tests.receipts import GIVEN_PRICES
from tests.server.proxies import on_real_trio, open_proxy, open_replica
from tests.server.scrapes import CHAT, busy_scrape, series_of

real = on_real_trio
LIMIT = 40


async def ask(http: Any, *models: str) -> None:
    """Ask each model at the same time."""
    async with trio.open_nursery() as nursery:
        for model in models:
            nursery.start_soon(lambda model: http.post("/v1/chat/completions", json={**CHAT, "model": model}), model)


async def scraped(http: Any) -> list[str]:
    return str((await http.get("/metrics")).text).splitlines()


async def scraped_at_rest(http: Any) -> list[str]:
    """After the last batch: its end is told after the answers, and makes series."""
    while "autobatcher_active_batches 0.0" not in (lines := await scraped(http)):  # noqa: ASYNC110  (as a user would)
        await trio.sleep(0.05)
    return lines


def models_in(lines: list[str]) -> set[str]:
    return {part.split('"')[1] for line in lines for part in line.split(",") if part.lstrip().startswith("model=")}


class TestFromOutside:
    pytestmark = real

    @pytest.mark.full_price
    async def test_a_busy_proxy_tells_each_metric_of_the_catalogue_with_its_labels(self, postgres_url: str) -> None:
        with trio.fail_after(LIMIT):
            series = series_of(await busy_scrape(postgres_url))
        told = {name: labels for name, labels in series.items() if name.startswith("autobatcher_")}
        expected: dict[str, frozenset[str]] = {}
        for name, each in CATALOGUE.items():
            endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[each.kind]
            for ending in endings:
                more = {"le"} if ending == "_bucket" else set()
                expected[f"autobatcher_{name}{ending}"] = frozenset({*each.labels, *more})
        assert told == expected
        assert {"process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"} <= series.keys()

    @pytest.mark.proves("faults", "callers invent names of models or service tiers, by the thousand")
    async def test_a_stranger_names_no_series(self) -> None:
        """Models that no upstream answers for have none, and of those that it answers for only the first ones."""
        plan = FaultPlan((LineFault(kind="fail", status=404, containing="nonsense"),))
        with trio.fail_after(LIMIT):
            async with open_proxy("doubleword", emulator={"faults": plan}) as proxy, proxy.http() as http:
                await ask(http, *(f"nonsense-{number}" for number in range(50)))
                await ask(http, "m")
                before = await scraped(http)
                await ask(http, *(f"m{number}" for number in range(MOST_MODELS + 5)))
                full = await scraped_at_rest(http)
                await ask(http, *(f"late{number}" for number in range(50)))
                late = await scraped_at_rest(http)
        assert models_in(before) == {"m", "other"}
        outcome = 'autobatcher_model_outcomes_total{endpoint="/v1/chat/completions",lane="batch",'
        assert f'{outcome}model="other",status_class="4xx"}} 50.0' in before
        assert f'{outcome}model="m",status_class="2xx"}} 1.0' in before
        assert len(models_in(full)) == MOST_MODELS + 1
        assert (len(late), models_in(late)) == (len(full), models_in(full))

    async def test_a_process_counts_its_own_money_so_that_a_sum_over_replicas_is_right(self, postgres_url: str) -> None:
        settings: dict[str, Any] = {"journal": postgres_url, "prices": GIVEN_PRICES}
        with trio.fail_after(LIMIT):
            async with (
                open_harness() as harness,
                open_replica(harness, **settings) as first,
                open_replica(harness, **settings) as second,
                first.http() as http,
                second.http() as other,
            ):
                await ask(http, "m")
                while not (receipt := (await other.get("/receipt")).json())["rows"]:  # noqa: ASYNC110  (as a user would)
                    await trio.sleep(0.05)
                lines, others = await scraped(http), await scraped(other)
        cost = 'autobatcher_cost_dollars_total{fate="delivered",lane="batch"}'
        assert f"{cost} {float(receipt['cost'])}" in lines
        assert f"{cost} 0.0" in others

    async def test_how_full_a_proxy_is_can_be_seen_before_it_refuses_a_call(self) -> None:
        limits = CallLimits(max_waiting=2, max_waiting_bytes=1_000)
        statuses: list[int] = []
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(emulator={"batch_seconds": 900.0}, app={"limits": limits}, max_queued_bytes=500) as proxy,
                proxy.http() as http,
                trio.open_nursery() as nursery,
            ):
                assert {"autobatcher_held_calls 0.0", "autobatcher_held_bytes 0.0"} <= {*await scraped(http)}
                nursery.start_soon(ask, http, "m", "n")
                while "autobatcher_held_calls 2.0" not in (lines := await scraped(http)):  # noqa: ASYNC110  (as a user would)
                    await trio.sleep(0.01)
                statuses.append((await http.post("/v1/chat/completions", json=CHAT)).status_code)
                nursery.cancel_scope.cancel()
        assert statuses == [503]
        told = dict(line.rsplit(" ", 1) for line in lines if "_held_" in line or "queued_bytes" in line)
        most = {name: float(told[f"autobatcher_max_{name}"]) for name in ("held_calls", "held_bytes", "queued_bytes")}
        assert most == {"held_calls": 2, "held_bytes": 1_000, "queued_bytes": 500}
        assert 0 < float(told["autobatcher_held_bytes"]) < 1_000
        assert 0 <= float(told["autobatcher_queued_bytes"]) <= 500

    async def test_an_answer_that_is_kept_for_a_retry_takes_no_place_since_it_gives_way(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"limits": CallLimits(max_waiting=1)}) as proxy, proxy.http() as http:
                for key in ("a", "b"):
                    headers = {"idempotency-key": key}
                    answer = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
                    assert answer.status_code == 200
                    assert "autobatcher_held_calls 0.0" in await scraped(http)

    async def test_ages_are_those_of_the_oldest_request_and_batch(self) -> None:
        report, began = Report(), trio.Event()

        def take_event(fields: dict[str, Any]) -> None:
            report.take_event(fields)
            began.set()

        settings: dict[str, Any] = {"app": {"report": report}, "batch_event_handler": take_event}
        ages = ("queued", "waiting", "batch")
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(emulator={"batch_seconds": 900.0}, batch_window_seconds=0.3, **settings) as proxy,
                proxy.http() as http,
                trio.open_nursery() as nursery,
            ):
                idle = report.gauges.values()
                nursery.start_soon(ask, http, "m")
                while not report.gauges.values()["queued_requests"]:  # noqa: ASYNC110  (as a user would look)
                    await trio.sleep(0.01)
                queued = report.gauges.values()
                await began.wait()
                running = report.gauges.values()
                nursery.cancel_scope.cancel()
        assert [idle[f"oldest_{age}_seconds"] for age in ages] == [0.0, 0.0, 0.0]
        assert queued["oldest_queued_seconds"] > 0.0
        assert queued["oldest_batch_seconds"] == 0.0
        assert running["oldest_queued_seconds"] == 0.0
        assert running["oldest_waiting_seconds"] >= 0.3 > running["oldest_batch_seconds"] > 0.0


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.real_time
async def test_scrapes_that_come_together_ask_the_system_once_and_off_the_event_loop() -> None:
    threads: list[int] = []

    def of_process() -> bytes:
        threads.append(threading.get_ident())
        return b"process_open_fds 1.0\n"

    metrics = Metrics(Report(), of_process)
    for _ in range(3):
        await metrics.refresh()
        assert metrics.text().endswith(b"\nprocess_open_fds 1.0\n")
    (thread,) = threads
    assert thread != threading.get_ident()


def a_row(fate: Fate, *, model: str = "m", lane: str = "batch", cost: str = "0.1") -> ReceiptRow:
    return ReceiptRow(
        provider="openai",
        model=model,
        endpoint="/v1/responses",
        lane=lane,
        completion_window="24h",
        fate=fate.value,
        requests=2,
        unpriced=1,
        tokens=Usage(),
        cost=Decimal(cost),
        list_price=None,
        source="",
        batch_ids=(),
    )


def test_what_was_paid_twice_is_told_apart_and_what_is_not_certain_is_in_no_counter() -> None:
    rows = (a_row(Fate.DELIVERED), a_row(Fate.DELIVERED, model="n"), a_row(Fate.PAID_TWICE), a_row(Fate.UNKNOWN))
    labels = ModelLabels()
    labels.learn("m")
    sums = BilledSums(Receipt(rows), labels.of)
    assert sums.costs["batch", "paid_twice"] == Decimal("0.1")
    assert (sums.costs["batch", "delivered"], sums.requests["batch", "delivered"]) == (Decimal("0.2"), 4)
    assert sums.model_costs["other", "batch", "delivered"] == Decimal("0.1")
    assert (sums.uncertain_cost, sums.uncertain_requests) == (Decimal("0.1"), 2)
    assert not any("unknown" in key for key in (*sums.costs, *sums.requests, *sums.unpriced, *sums.model_costs))
    assert sums.costs["flex", "paid_twice"] == 0  # told from the beginning: `increase()` needs that


@pytest.mark.proves("faults", "callers invent names of models or service tiers, by the thousand")
def test_callers_choose_no_lane_by_naming_service_tiers() -> None:
    sums = BilledSums(Receipt(tuple(a_row(Fate.DELIVERED, lane=f"tier-{number}") for number in range(50))), str)
    assert sums.costs["other", "delivered"] == 5
    assert {lane for lane, _ in sums.costs} == {"batch", "flex", "realtime", "other"}
    assert lane_label("priority") == "priority"


@pytest.mark.parametrize(("model", "label"), [("m" * 101, "other"), ("", "other"), ("a\ud800\nb", "a  b")])
def test_a_name_that_no_line_can_hold_becomes_no_label(model: str, label: str) -> None:
    labels = ModelLabels()
    labels.learn(model)
    assert labels.of(model) == label


def test_a_duration_counts_in_each_bucket_that_is_not_below_it() -> None:
    histogram = Histogram((1.0, 10.0))
    for seconds in (0.5, 1.0, 9.0, 11.0):
        histogram.add(seconds)
    assert (list(histogram.buckets()), histogram.seconds) == ([("1.0", 2), ("10.0", 3), ("+Inf", 4)], 21.5)


def test_batches_are_counted_by_how_they_ended_and_timed() -> None:
    batch: dict[str, Any] = {
        "ts": 0.0,
        "batch_id": "b",
        "endpoint": "/v1/responses",
        "input_file_id": "f",
        "request_count": 1,
        "models": ["m"],
        "completion_window": "24h",
        "metadata": {},
        "counts": events.RequestCounts(),
    }
    counts = BatchCounts()
    counts.take(events.BatchCompleted(**batch, elapsed_seconds=100.0))
    counts.take(events.BatchTerminal(**batch, elapsed_seconds=90_000.0, status="expired"))
    assert counts.ends == {"completed": 1, "expired": 1}
    assert {key: each.seconds for key, each in counts.durations.items()} == {
        ("/v1/responses", "completed"): 100.0,
        ("/v1/responses", "expired"): 90_000.0,
    }


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/files", "POST files"),
        ("GET", "/v1/batches/batch_1", "GET batch"),
        ("POST", "/v1/batches/batch_1/cancel", "POST cancel"),
        ("GET", "/v1/files/file-1/content", "GET content"),
        ("POST", "/openai/deployments/x/chat/completions", "POST realtime"),
        ("GET", "/v1/models/a/b", "GET model"),
        ("PROPFIND", "/odd", "other other"),
    ],
)
def test_calls_are_named_without_ids(method: str, path: str, name: str) -> None:
    assert call_name(method, path) == name
