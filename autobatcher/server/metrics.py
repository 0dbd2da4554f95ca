"""`GET /metrics`: the report in Prometheus' format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .costs import Told
from .fleet import FleetView
from .report import Report
from .tally import LATENCY_BUCKETS, Tally

REFUSING_SETTINGS = ("max_cost", "max_cost_per_account", "unknown_prices")


class Metrics:
    """A registry with the metrics of this proxy, and none of the process's default registry."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._registry = CollectorRegistry()
        self._registry.register(self)  # calls `collect`

    def text(self) -> bytes:
        """The body of the response."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics; called by `CollectorRegistry` at each scrape."""
        yield from _gauges(self._report)
        yield from _counters(self._report)
        yield from _dollars(self._report.costs)
        yield from _fleet(self._report.fleet)
        yield _latency(self._report.tally)


def _gauges(report: Report) -> Iterator[Metric]:
    status = report.status()
    for name, key, help_text in (
        ("queued_requests", "queued", "Requests not yet submitted in a batch."),
        ("waiting_requests", "waiting", "Requests without an outcome, queued ones included."),
        ("lane_requests", "lane_requests", "Requests that wait on the flex and real-time lanes."),
        ("active_batches", "active_batches", "Batches running upstream."),
        ("clients_away", "clients_away", "Requests whose client disconnected and may return."),
    ):
        yield GaugeMetricFamily(f"autobatcher_{name}", help_text, value=status[key])
    if (cap := status["cap"]) is not None:
        yield GaugeMetricFamily("autobatcher_cap_left_dollars", "What may still be spent, in USD.", value=cap["left"])


def _counters(report: Report) -> Iterator[Metric]:
    tally = report.tally
    for name, help_text, value in (
        ("requests", "Batchable requests received.", tally.requests),
        ("reattached", "Retries reattached to a pending call.", tally.reattached),
        ("deadlines_missed", "Requests without an answer by their deadline.", tally.deadlines_missed),
        ("batches_submitted", "Batches accepted by the upstream.", report.progress.submitted_batches),
    ):
        yield CounterMetricFamily(f"autobatcher_{name}", help_text, value=value)
    lines = CounterMetricFamily("autobatcher_lines", "Requests by status; 0: no response.", labels=["status"])
    for status, count in sorted(tally.statuses.items()):
        lines.add_metric([str(status)], count)
    yield lines
    lanes = CounterMetricFamily("autobatcher_answers", "Responses by the lane they were got on.", labels=["lane"])
    for lane, count in sorted(tally.lanes.items()):
        lanes.add_metric([lane], count)
    yield lanes
    escalated = CounterMetricFamily(
        "autobatcher_escalations", "Requests that went from one lane to another.", labels=["from", "to"]
    )
    for way, count in sorted(report.escalations.items()):
        escalated.add_metric(list(way), count)
    yield escalated
    refused = CounterMetricFamily("autobatcher_refused", "Calls not sent for want of money.", labels=["setting"])
    for setting in REFUSING_SETTINGS:
        refused.add_metric([setting], tally.refused[setting])
    yield refused
    tokens = CounterMetricFamily("autobatcher_tokens", "Tokens by the usage of answers.", labels=["kind"])
    tokens.add_metric(["input"], tally.input_tokens)
    tokens.add_metric(["output"], tally.output_tokens)
    yield tokens
    ends = CounterMetricFamily("autobatcher_batches_ended", "Batches by final status.", labels=["status"])
    for how, count in sorted(report.batch_ends.items()):
        ends.add_metric([how], count)
    yield ends
    calls = CounterMetricFamily("autobatcher_upstream_calls", "Responses of the upstream.", labels=["call", "status"])
    for (call, code), count in sorted(report.upstream_calls.items()):
        calls.add_metric([call, str(code)], count)
    yield calls


def _dollars(costs: Told) -> Iterator[Metric]:
    """By lane and fate: callers choose the names of models, and how many there are."""
    cost = CounterMetricFamily("autobatcher_cost_dollars", "What was billed, in USD.", labels=["lane", "fate"])
    unpriced = CounterMetricFamily(
        "autobatcher_unpriced_requests", "Billed requests of unknown price.", labels=["lane", "fate"]
    )
    for lane, fate, dollars, count in costs.lanes:
        cost.add_metric([lane, fate], float(dollars))
        unpriced.add_metric([lane, fate], count)
    yield cost
    yield unpriced
    help_text = "What would have cost that much in real time was delivered, in USD."
    yield CounterMetricFamily("autobatcher_list_price_dollars", help_text, value=float(costs.list_price))
    if costs.saving is not None:
        help_text = "What was saved, in USD, as far as list prices are known."
        yield GaugeMetricFamily("autobatcher_saved_dollars", help_text, value=float(costs.saving))


def _fleet(view: FleetView | None) -> Iterator[Metric]:
    """Nothing while the database does not answer: old numbers would look like new ones."""
    seen = None if view is None or view.is_stale else view.seen
    if seen is None:
        return
    engines = GaugeMetricFamily("autobatcher_fleet_engines", "Engines that share the journal.", labels=["state"])
    alive = sum(engine.is_alive for engine in seen.engines)
    engines.add_metric(["alive"], alive)
    engines.add_metric(["gone"], len(seen.engines) - alive)
    yield engines
    for name, help_text, value in (
        ("left", "Unfinished batches that no engine runs.", seen.left_batches),
        ("without_key", "Those of accounts whose key this proxy lacks.", sum(each.batches for each in seen.waiting)),
    ):
        yield GaugeMetricFamily(f"autobatcher_fleet_batches_{name}", help_text, value=value)


def _latency(tally: Tally) -> Metric:
    buckets, total = [], 0
    for bucket in (*LATENCY_BUCKETS, float("inf")):
        total += tally.waited[bucket]
        buckets.append(("+Inf" if bucket == float("inf") else str(bucket), total))
    help_text = "Seconds from a request to its outcome."
    return HistogramMetricFamily("autobatcher_wait_seconds", help_text, buckets=buckets, sum_value=tally.seconds)
