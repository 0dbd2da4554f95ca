"""`GET /metrics`: the report in Prometheus' words."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .report import Report
from .tally import LATENCY_BUCKETS, Tally


class Metrics:
    """A registry of this proxy alone: nothing of the process's default one."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._registry = CollectorRegistry()
        self._registry.register(self)  # `collect` is all that it needs

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What `CollectorRegistry` asks for at each scrape."""
        yield from _gauges(self._report)
        yield from _counters(self._report)
        yield _latency(self._report.tally)


def _gauges(report: Report) -> Iterator[Metric]:
    status = report.status()
    for name, key, help_text in (
        ("queued_requests", "queued", "Requests in windows that are not submitted yet."),
        ("waiting_requests", "waiting", "Requests without an outcome, queued ones included."),
        ("active_batches", "active_batches", "Batches that the upstream works on."),
        ("clients_away", "clients_away", "Requests whose client went away and may come back."),
    ):
        yield GaugeMetricFamily(f"autobatcher_{name}", help_text, value=status[key])


def _counters(report: Report) -> Iterator[Metric]:
    tally = report.tally
    for name, help_text, value in (
        ("requests", "Batchable requests that came.", tally.requests),
        ("reattached", "Clients that came back to a call that they had left.", tally.reattached),
        ("batches_submitted", "Batches that the upstream accepted.", report.progress.submitted_batches),
    ):
        yield CounterMetricFamily(f"autobatcher_{name}", help_text, value=value)
    lines = CounterMetricFamily("autobatcher_lines", "Requests by outcome; 0: none from a batch.", labels=["status"])
    for status, count in sorted(tally.statuses.items()):
        lines.add_metric([str(status)], count)
    yield lines
    tokens = CounterMetricFamily("autobatcher_tokens", "Tokens that answers told of.", labels=["kind"])
    tokens.add_metric(["input"], tally.input_tokens)
    tokens.add_metric(["output"], tally.output_tokens)
    yield tokens
    ends = CounterMetricFamily("autobatcher_batches_ended", "Batches by how they ended.", labels=["status"])
    for how, count in sorted(report.batch_ends.items()):
        ends.add_metric([how], count)
    yield ends
    calls = CounterMetricFamily("autobatcher_upstream_calls", "Answers of the upstream.", labels=["call", "status"])
    for (call, code), count in sorted(report.upstream_calls.items()):
        calls.add_metric([call, str(code)], count)
    yield calls


def _latency(tally: Tally) -> Metric:
    buckets, total = [], 0
    for bucket in (*LATENCY_BUCKETS, float("inf")):
        total += tally.waited[bucket]
        buckets.append(("+Inf" if bucket == float("inf") else str(bucket), total))
    help_text = "Seconds from a request to its outcome."
    return HistogramMetricFamily("autobatcher_wait_seconds", help_text, buckets=buckets, sum_value=tally.seconds)
