"""The span of one batch, with a child for each part of its life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from ..engine.request import Request
from ..upstream.batch_state import BatchState
from .attributes import Attributes, error_type
from .call_span import CallSpan, fail
from .containment import contained

MOST_LINKS = 128
"""How many of its calls a batch links to. That is as many as the SDK keeps; each call links to its batch anyway."""

_FAILED = frozenset({"failed", "overdue"})
_FAILED_STATUSES = frozenset({"failed", "expired"})


class BatchSpan:
    """A `BatchTrace`. The span begins a trace of its own: a batch is of many callers.

    It is current in the batch's task. So whoever traces HTTP has its calls below it, and not below the call of whoever
    happened to start the engine.
    """

    def __init__(self, tracer: trace.Tracer, operation: str, attributes: Attributes, now: Callable[[], int]) -> None:
        self._tracer = tracer
        self._name = f"batch {operation}"
        self._attributes = attributes
        self._now = now
        self._span: Span = trace.INVALID_SPAN
        self._step: Span = trace.INVALID_SPAN
        self._status = ""
        self._request_count = self._link_count = self._poll_count = 0
        self._has_ended = False

    @contextmanager
    def task(self, requests: Sequence[Request]) -> Iterator[None]:
        """See `BatchTrace`."""
        self._begin(requests)
        token = context.attach(trace.set_span_in_context(self._span, Context()))
        try:
            yield
        finally:
            context.detach(token)
            self._end("stopped")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `BatchTrace`."""
        self._begin_step(name)
        step, error = self._step, None
        token = context.attach(trace.set_span_in_context(step))
        try:
            yield
        except BaseException as raised:
            error = error_type(raised)
            raise
        finally:
            context.detach(token)
            self._end_step(step, error)

    @contained
    def joined(self, request: Request) -> None:
        """See `BatchTrace`."""
        if self._span is not trace.INVALID_SPAN and isinstance(request.trace, CallSpan):
            self._request_count += 1
            request.trace.join(self._span.get_span_context())
            if self._link_count < MOST_LINKS:
                self._link_count += 1
                self._span.add_link(request.trace.context)

    @contained
    def seen(self, state: BatchState) -> None:
        """See `BatchTrace`."""
        self._span.set_attribute("autobatcher.batch.id", state.id)

    @contained
    def polled(self, state: BatchState) -> None:
        """See `BatchTrace`. Each new status is an event; a day of polls is one span, and not thousands."""
        self._poll_count += 1
        if state.status != self._status:
            self._status = state.status
            self._step.add_event("autobatcher.batch.status", {"autobatcher.batch.status": state.status}, self._now())

    @contained
    def over(self, cause: str, state: BatchState | None) -> None:
        """See `BatchTrace`."""
        fail(self._span, _error(cause, state))
        if state is not None:
            self._span.set_attribute("autobatcher.batch.status", state.status)
        if state is not None and state.counts is not None:
            self._span.set_attribute("autobatcher.batch.completed_count", state.counts.completed)
            self._span.set_attribute("autobatcher.batch.failed_count", state.counts.failed)
        self._end(cause)

    @contained
    def _begin(self, requests: Sequence[Request]) -> None:
        calls = [request.trace for request in requests if isinstance(request.trace, CallSpan)]
        links = [Link(call.context) for call in calls[:MOST_LINKS]]
        self._request_count, self._link_count = len(requests), len(links)
        self._span = self._tracer.start_span(
            self._name, Context(), SpanKind.INTERNAL, self._attributes, links, self._now()
        )
        for call in calls:
            call.join(self._span.get_span_context())

    @contained
    def _end(self, cause: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._span.set_attribute("autobatcher.batch.request_count", self._request_count)
        self._span.set_attribute("autobatcher.batch.cause", cause)
        self._span.end(self._now())

    @contained
    def _begin_step(self, name: str) -> None:
        self._poll_count = 0
        kind = SpanKind.INTERNAL if name == "poll" else SpanKind.CLIENT
        parent = trace.set_span_in_context(self._span, Context())
        self._step = self._tracer.start_span(name, parent, kind, self._attributes, start_time=self._now())

    @contained
    def _end_step(self, step: Span, error: str | None) -> None:
        self._step = trace.INVALID_SPAN
        if self._poll_count:
            step.set_attribute("autobatcher.poll.count", self._poll_count)
        fail(step, error)
        step.end(self._now())


def _error(cause: str, state: BatchState | None) -> str | None:
    if state is None:
        return "not_created" if cause in ("over", "failed") else None
    if cause in _FAILED:
        return cause
    return state.status if state.status in _FAILED_STATUSES else None
