"""Keeps what an engine tells OpenTelemetry, without touching what the process has set up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from autobatcher import BatchOpenAI
from autobatcher.tracing.tracer import OpenTelemetryTracer


class Recorder:
    """Spans and metrics of the clients that it traces."""

    def __init__(self, *, sampler: Sampler | None = None, processor: SpanProcessor | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(processor or SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def trace(self, client: BatchOpenAI) -> BatchOpenAI:
        """Trace this client, on the clock of its event loop."""
        host = client._engine.host
        tracer = OpenTelemetryTracer(
            lambda: round(anyio.current_time() * 1_000_000_000), spans=self.provider, meters=self._meters
        )
        host.make_batcher = partial(host.make_batcher, tracer=tracer)
        return client

    @contextmanager
    def caller(self) -> Iterator[Any]:
        """The span of a caller, current within the block."""
        with self.provider.get_tracer("caller").start_as_current_span("caller") as span:
            yield span

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Those that have ended, in that order, whose name begins so."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]

    def said(self) -> str:
        """All that left: each span as JSON, with its attributes, events and links; and the metrics."""
        found = self._reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans()), found.to_json() if found else ""])

    def points(self, metric: str) -> list[HistogramDataPoint]:
        """All points of one histogram."""
        found = self._reader.get_metrics_data()
        return [
            point
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in each.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else int(span.parent.span_id)


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def ident(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)
