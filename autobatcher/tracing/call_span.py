"""The span of one call, from being asked to its outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanContext, Status, StatusCode, use_span

from ..engine.request import Answer, Request
from .attributes import Attributes, error_type, of_answer, of_place, read_answer
from .containment import contained
from .metrics import Metrics

SECOND = 1_000_000_000  # in nanoseconds


class CallSpan:
    """A `CallTrace`. It may see several batches: the span has a link to each.

    Args:
        attributes: those that the span began with.
        begun_at: in nanoseconds, by `now`.
    """

    __slots__ = ("_attributes", "_batches", "_begun_at", "_has_ended", "_metrics", "_now", "_span")

    def __init__(
        self, span: Span, attributes: Attributes, begun_at: int, metrics: Metrics, now: Callable[[], int]
    ) -> None:
        self._span = span
        self._attributes = attributes
        self._begun_at = begun_at
        self._metrics = metrics
        self._now = now
        self._batches: list[SpanContext] = []
        self._has_ended = False

    @property
    def context(self) -> SpanContext:
        """By which other spans link to this one."""
        return self._span.get_span_context()

    def join(self, batch: SpanContext) -> None:
        """It is in this batch. The link is made at the end: a batch of 50,000 calls must not hold the event loop."""
        self._batches.append(batch)

    def active(self) -> AbstractContextManager[object]:
        """See `CallTrace`."""
        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    @contained
    def event(self, name: str, **attributes: str | bool) -> None:
        """See `CallTrace`."""
        if not self._has_ended:
            self._span.add_event(name, attributes, self._now())

    @contained
    def end(self, request: Request) -> None:
        """See `CallTrace`."""
        if self._has_ended:
            return
        self._has_ended = True
        outcome = request.settled_as if request.is_settled else None
        error, (name, usage) = error_type(outcome), read_answer(outcome)
        ended_at, said = self._now(), of_answer(name, usage)
        place = of_place(outcome, request)
        if isinstance(outcome, Answer) and outcome.batch_id and not self._batches:
            place["autobatcher.from_journal"] = True  # its answer was stored, or is of a batch of another engine
        self._end_span(error, said | place, ended_at)
        attributes = dict(self._attributes)
        if "gen_ai.response.model" in said:
            attributes["gen_ai.response.model"] = said["gen_ai.response.model"]
        seconds = max(0, ended_at - self._begun_at) / SECOND
        self._metrics.record(attributes, seconds, usage, error)

    @contained
    def refuse(self, error: BaseException) -> None:
        """It was refused at once; or its caller left before it was queued."""
        self._has_ended = True
        kind, ended_at = error_type(error), self._now()
        self._end_span(kind, {}, ended_at)
        self._metrics.record(self._attributes, max(0, ended_at - self._begun_at) / SECOND, None, kind)

    def _end_span(self, error: str | None, attributes: Attributes, ended_at: int) -> None:
        span = self._span
        if span.is_recording():
            for batch in self._batches:
                span.add_link(batch)
            span.set_attributes(attributes)
            fail(span, error)
        span.end(ended_at)


def fail(span: Span, error: str | None) -> None:
    """Mark a span as failed, if there is an error. The error's text is left out: it may quote a prompt."""
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
