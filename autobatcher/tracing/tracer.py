"""`OpenTelemetryTracer`: tells OpenTelemetry of calls and batches. The API alone; the program brings the SDK."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from ..engine.request import Request
from ..upstream.account import Account
from .attributes import of_request, of_server, operation_of
from .batch_span import BatchSpan
from .call_span import CallSpan
from .containment import contained
from .metrics import Metrics

logger: logging.Logger = logging.getLogger("autobatcher")

_NAME = "autobatcher"


class OpenTelemetryTracer:
    """The `Tracer` of one engine.

    Args:
        clock: returns the time in Unix nanoseconds.
        spans, meters: where they go; None for what the program has set up, also if it does so later.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.time_ns,
        *,
        spans: trace.TracerProvider | None = None,
        meters: metrics.MeterProvider | None = None,
    ) -> None:
        self.now: Callable[[], int] = clock
        ours = version(_NAME)
        self._tracer = trace.get_tracer(_NAME, ours, spans)
        self._metrics = Metrics(metrics.get_meter(_NAME, ours, meters))

    @contained
    def begin(self, request: Request, asked_at: int) -> None:
        """See `Tracer`."""
        request.trace = self._call_span(request, asked_at)

    @contained
    def refused(self, request: Request, asked_at: int, error: BaseException) -> None:
        """See `Tracer`."""
        self._call_span(request, asked_at).refuse(error)

    def batch(self, account: Account, endpoint: str) -> BatchSpan:
        """See `Tracer`."""
        return BatchSpan(self._tracer, operation_of(endpoint), of_server(account), self.now)

    @contextmanager
    def caller(self, headers: Mapping[str, str]) -> Iterator[None]:
        """See `Tracer`. A span that is current already stays so: then the server itself is traced."""
        if trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = context.attach(_extracted(headers))
        try:
            yield
        finally:
            context.detach(token)

    def _call_span(self, request: Request, asked_at: int) -> CallSpan:
        attributes = of_request(request)
        model = attributes.get("gen_ai.request.model")
        operation = operation_of(request.endpoint)
        name = operation if model is None else f"{operation} {model}"
        span = self._tracer.start_span(name, None, SpanKind.CLIENT, attributes, start_time=asked_at)
        return CallSpan(span, attributes, asked_at, self._metrics, self.now)


def _extracted(headers: Mapping[str, str]) -> Context:
    try:
        return propagate.extract(headers)
    except Exception:  # a propagator of the program's own
        logger.warning("autobatcher: a propagator of OpenTelemetry raised an exception", exc_info=True)
        return context.get_current()
