"""Every metric of ours, described once: its type, its labels, and what it says.

docs/operations.md has this as a table; the dashboard and the alerts in deploy/ may name nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .histogram import Histogram


class Described(NamedTuple):
    """One metric.

    Attributes:
        kind: "counter", "gauge" or "histogram".
    """

    kind: str
    labels: tuple[str, ...]
    help: str


def _counter(help_text: str, *labels: str) -> Described:
    return Described("counter", labels, help_text)


def _gauge(help_text: str, *labels: str) -> Described:
    return Described("gauge", labels, help_text)


def _histogram(help_text: str, *labels: str) -> Described:
    return Described("histogram", labels, help_text)


CATALOGUE: dict[str, Described] = {
    # ---- now ----
    "queued_requests": _gauge("Requests not yet submitted in a batch."),
    "waiting_requests": _gauge("Requests without an outcome, queued ones included."),
    "lane_requests": _gauge("Requests that wait on the flex and real-time lanes."),
    "active_batches": _gauge("Batches running upstream."),
    "clients_away": _gauge("Requests whose client disconnected and may return."),
    "oldest_queued_seconds": _gauge("Age of the oldest request that is in no batch yet; 0 if there is none."),
    "oldest_waiting_seconds": _gauge("Age of the oldest request without an outcome; 0 if there is none."),
    "oldest_batch_seconds": _gauge("Age of the oldest batch running upstream; 0 if there is none."),
    "held_calls": _gauge("Calls that --max-waiting counts, but for answers that are kept for a retry: these give way."),
    "max_held_calls": _gauge("How many --max-waiting allows; lower where the limit of open files is."),
    "held_bytes": _gauge("Bytes of bodies that --max-waiting-bytes counts."),
    "max_held_bytes": _gauge("How many it allows."),
    "queued_bytes": _gauge(
        "Bytes of bodies that --max-queued-bytes counts: those that arrive, or are in no batch yet."
    ),
    "max_queued_bytes": _gauge("How many it allows."),
    # ---- requests ----
    "requests": _counter("Batchable requests received."),
    "reattached": _counter("Retries reattached to a pending call."),
    "deadlines_missed": _counter("Requests without an answer by their deadline."),
    "lines": _counter("Requests by status; 0: no response.", "status"),
    "answers": _counter("Responses by the lane they were got on.", "lane"),
    "escalations": _counter("Requests that went from one lane to another.", "from", "to"),
    "resubmitted": _counter("Requests that went into another batch."),
    "refused": _counter("Calls not sent for want of money, by the setting that says so.", "setting"),
    "tokens": _counter("Tokens of good answers. Cached is part of input, reasoning of output.", "kind"),
    "wait_seconds": _histogram("Seconds from a request to its outcome."),
    # ---- requests by model ----
    "model_outcomes": _counter(
        "Requests by what became of them; the class none: no response.", "model", "endpoint", "lane", "status_class"
    ),
    "model_tokens": _counter("Tokens of good answers, by model.", "model", "lane", "kind"),
    "model_cost_dollars": _counter("What was billed, in USD, by model.", "model", "lane", "fate"),
    "model_wait_seconds": _histogram("Seconds from a request to its outcome, by model.", "model", "lane"),
    # ---- batches ----
    "batches_submitted": _counter("Batches accepted by the upstream."),
    "batches_ended": _counter("Batches by final status.", "status"),
    "batch_submissions_failed": _counter("Batches that the upstream did not take."),
    "batch_cancellations_failed": _counter("Batches that may run on, and cost money, though we cancelled them."),
    "batch_seconds": _histogram("Seconds from the creation of a batch to its end.", "endpoint", "status"),
    # ---- the upstream ----
    "upstream_requests": _counter(
        "Requests to the upstream; those that nothing answered are in no other metric.", "call"
    ),
    "upstream_calls": _counter("Responses of the upstream.", "call", "status"),
    "upstream_seconds": _histogram("Seconds until the upstream began to respond, uploads included.", "call"),
    "webhooks": _counter("Webhooks by what became of them; batch: it runs here, and was polled.", "outcome"),
    # ---- money ----
    "cost_dollars": _counter("What was certainly billed, in USD. The fate paid_twice: for nothing.", "lane", "fate"),
    "billed_requests": _counter("Requests that were certainly billed.", "lane", "fate"),
    "unpriced_requests": _counter("Those of them whose price is unknown.", "lane", "fate"),
    "uncertain_cost_dollars": _gauge("What may have been billed beside that, at most, in USD: nobody knows yet."),
    "uncertain_requests": _gauge("Requests that may have been billed: nobody knows yet."),
    "list_price_dollars": _counter("List price, in real time, of what was delivered, in USD."),
    "saved_dollars": _gauge("What was saved, in USD, as far as list prices are known."),
    "cap_dollars": _gauge("The most that may be spent (max_cost), in USD."),
    "cap_left_dollars": _gauge("What may still be spent, in USD."),
    # ---- the engines that share a journal ----
    "fleet_engines": _gauge("Engines that share the journal.", "state"),
    "fleet_batches_left": _gauge("Unfinished batches that no engine runs."),
    "fleet_batches_without_key": _gauge("Those of accounts whose key this proxy lacks."),
    # ---- the program ----
    "build_info": _gauge("Always 1. The versions of the program.", "version", "python", "openai"),
}

Labels = TypeVar("Labels", bound=tuple[str, ...])

_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def metric(name: str, values: Mapping[Labels, float] | Mapping[Labels, Histogram] | float) -> Metric:
    """A metric of the catalogue with these values: one, or by the values of its labels."""
    described = CATALOGUE[name]
    made = _FAMILIES[described.kind](f"autobatcher_{name}", described.help, labels=described.labels)
    by_labels: Mapping[Any, float | Histogram] = {(): values} if isinstance(values, int | float) else values
    for labels, value in sorted(by_labels.items(), key=itemgetter(0)):
        if isinstance(value, Histogram):
            made.add_metric(labels, list(value.buckets()), value.seconds)
        else:
            made.add_metric(labels, float(value))
    family: Metric = made
    return family
