"""`GET /metrics`: the report in Prometheus' format."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric

from .batch_counts import ENDS, BatchCounts
from .billed_sums import BilledSums
from .fleet import FleetView
from .labels import LANES
from .metrics_catalogue import metric
from .report import Report
from .tally import Tally
from .upstream_calls import UpstreamCalls
from .webhooks import OUTCOMES

REFUSING_SETTINGS = ("max_cost", "max_cost_per_account", "unknown_prices")

USUAL_STATUSES = (0, 200, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504)
"""They are told from the beginning: a batch brings many at once, and `increase()` misses what a series begins with."""

USUAL_CALLS = ("GET batches", "POST files", "POST batches", "GET batch", "GET content", "POST realtime")
REFUSALS = (401, 403)
"""Of an upstream's key. These, too, are told from the beginning."""

FRESH_SECONDS = 1.0
"""How old what is told of the process may be. The system lists its open files for that: thousands take milliseconds."""


def process_text() -> bytes:
    """Memory, CPU time and open files of this process, in Prometheus' format. Blocks for some milliseconds."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class Metrics:
    """A registry with the metrics of this proxy and its process, and none of the process's default registry.

    Args:
        of_process: returns the text on the process; called in a worker thread.
    """

    def __init__(self, report: Report, of_process: Callable[[], bytes] = process_text) -> None:
        self._report = report
        self._registry = CollectorRegistry()
        self._registry.register(self)  # calls `collect`
        self._of_process = of_process
        self._process = b""
        self._stale_at = float("-inf")

    async def refresh(self) -> None:
        """Bring up to date what is asked of other threads. Cancelled: they end by themselves."""
        await self._report.refresh()
        if trio.current_time() >= self._stale_at:
            self._stale_at = trio.current_time() + FRESH_SECONDS
            self._process = await trio.to_thread.run_sync(self._of_process, abandon_on_cancel=True)

    def text(self) -> bytes:
        """The body of the response."""
        return generate_latest(self._registry) + self._process

    def collect(self) -> Iterator[Metric]:
        """The metrics; called by `CollectorRegistry` at each scrape."""
        yield from _now(self._report)
        yield from _requests(self._report.tally)
        yield from _by_model(self._report.tally, self._report.costs.own)
        yield from _batches(self._report.progress.submitted_batches, self._report.batch_counts)
        yield from _upstream(self._report.upstream_calls, self._report.tally.webhooks)
        yield from _money(self._report, self._report.costs.own)
        yield from _fleet(self._report.fleet)
        yield _build()


def _now(report: Report) -> Iterator[Metric]:
    for name, value in report.gauges.values().items():
        yield metric(name, value)


def _requests(tally: Tally) -> Iterator[Metric]:
    yield metric("requests", tally.requests)
    yield metric("reattached", tally.reattached)
    yield metric("deadlines_missed", tally.deadlines_missed)
    statuses = {**dict.fromkeys(USUAL_STATUSES, 0), **tally.statuses}
    yield metric("lines", {(str(status),): count for status, count in statuses.items()})
    yield metric("answers", {(lane,): count for lane, count in {**dict.fromkeys(LANES, 0), **tally.lanes}.items()})
    yield metric("refused", {(setting,): tally.refused[setting] for setting in REFUSING_SETTINGS})
    yield metric("tokens", {(kind,): count for kind, count in tally.usage._asdict().items()})
    yield metric("wait_seconds", {(): tally.waits})


def _by_model(tally: Tally, own: BilledSums) -> Iterator[Metric]:
    yield metric("model_outcomes", tally.by_model.outcomes)
    yield metric("model_tokens", tally.by_model.tokens)
    yield metric("model_wait_seconds", tally.by_model.waits)
    yield metric("model_cost_dollars", {labels: float(cost) for labels, cost in own.model_costs.items()})


def _batches(submitted: int, counts: BatchCounts) -> Iterator[Metric]:
    yield metric("batches_submitted", submitted)
    yield metric("batch_submissions_failed", counts.failed_submissions)
    yield metric("batch_cancellations_failed", counts.failed_cancellations)
    yield metric("batches_ended", {(end,): counts.ends[end] for end in ENDS})
    yield metric("batch_seconds", counts.durations)
    yield metric("resubmitted", counts.resubmitted)
    yield metric("escalations", counts.escalations)


def _upstream(calls: UpstreamCalls, webhooks: Counter[str]) -> Iterator[Metric]:
    sent = {**dict.fromkeys(USUAL_CALLS, 0), **calls.sent}
    responses = {**dict.fromkeys(product(USUAL_CALLS, REFUSALS), 0), **calls.responses}
    yield metric("upstream_requests", {(call,): count for call, count in sent.items()})
    yield metric("upstream_calls", {(call, str(status)): count for (call, status), count in responses.items()})
    yield metric("webhooks", {(outcome,): webhooks[outcome] for outcome in OUTCOMES})
    yield metric("upstream_seconds", {(call,): seconds for call, seconds in calls.seconds.items()})


def _money(report: Report, own: BilledSums) -> Iterator[Metric]:
    yield metric("cost_dollars", {labels: float(cost) for labels, cost in own.costs.items()})
    yield metric("billed_requests", own.requests)
    yield metric("unpriced_requests", own.unpriced)
    yield metric("uncertain_cost_dollars", float(own.uncertain_cost))
    yield metric("uncertain_requests", own.uncertain_requests)
    yield metric("list_price_dollars", float(own.list_price))
    if own.saving is not None:
        yield metric("saved_dollars", float(own.saving))
    if (cap := report.gauges.cap()) is not None:
        yield metric("cap_dollars", float(cap.amount))
        yield metric("cap_left_dollars", float(cap.left))


def _fleet(view: FleetView | None) -> Iterator[Metric]:
    """Nothing while the database does not answer: old numbers would look like new ones."""
    seen = None if view is None or view.is_stale else view.seen
    if seen is None:
        return
    alive = sum(engine.is_alive for engine in seen.engines)
    yield metric("fleet_engines", {("alive",): alive, ("gone",): len(seen.engines) - alive})
    yield metric("fleet_batches_left", seen.left_batches)
    yield metric("fleet_batches_without_key", sum(each.batches for each in seen.waiting))


def _build() -> Metric:
    return metric("build_info", {(version("autobatcher"), platform.python_version(), version("openai")): 1})
