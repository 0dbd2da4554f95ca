"""What a request's outcome is, given what happened to its line or its batch. Pure, and the only place of these words.

The functions named `*_error_for` give an `ErrorFor`, which makes an error of its own for each caller.
"""

from __future__ import annotations

import re

import msgspec

from ..errors import (
    BatchEndedError,
    BatchError,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
    ClientClosedError,
    EngineError,
    JournalError,
)
from ..upstream.batch_state import BatchState, Problem
from ..upstream.failures import UncertainCreationError, UpstreamError, reason_given
from ..upstream.jsonl import OutputLine
from ..upstream.providers import ProviderProfile
from .request import Answer, ErrorFor, Request

_REASONS_SHOWN = 3


def line_outcome(line: OutputLine, batch_id: str) -> Answer | BatchError:
    """An HTTP answer, good or bad, is an answer; a line that never got one is a typed error."""
    if line.status_code is not None:
        return Answer(line.status_code, line.body, line.request_id, batch_id, line.custom_id)
    code = f" ({line.error_code})" if line.error_code else ""
    return BatchEndedError(
        f"Batch {batch_id} did not get an answer to this request: {line.error}{code}",
        status="expired" if line.error_code == "batch_expired" else "failed",
        batch_id=batch_id,
        custom_id=line.custom_id,
        body={"code": line.error_code, "message": line.error},
    )


_RETRYABLE_STATUSES = frozenset({408, 409, 429, *range(500, 600)})

_NOT_EXECUTED = "not_executed"

_RETRYABLE_ENDS = frozenset({"expired"})
"""Ends of a batch that say nothing against a line that got no answer in it. A batch that "failed" may say a lot; who
cancels a batch wants it to stop; and what a completed batch counts as done was paid for, wherever it is."""

_RETRYABLE_CODES = frozenset({_NOT_EXECUTED, "batch_expired", "NetworkError", "Timeout", "TaskTerminated"})
"""Codes of lines that were not executed, or not to their end: OpenAI's, then those of Doubleword's fusillade."""

_NO_ROOM = re.compile(
    "token_limit_exceeded|enqueued|quota_exceeded|too_many_batches|rate_limit|capacity", re.IGNORECASE
)
"""Codes with which batches fail whose upstream has no room for them now: OpenAI's and Azure's token_limit_exceeded
("Enqueued token limit reached ..."), and what others call it. too_many_tasks is a batch that is too large."""

_LINE = re.compile(r"Line (\d+): ")


def is_retryable(outcome: Answer | BatchError) -> bool:
    """Whether the same request may well fare better in a later batch: it was not refused, but got no real answer."""
    if isinstance(outcome, Answer):
        return outcome.status_code in _RETRYABLE_STATUSES
    if not isinstance(outcome, BatchEndedError):
        return False
    return outcome.status in _RETRYABLE_ENDS or (
        isinstance(outcome.body, dict) and outcome.body.get("code") in _RETRYABLE_CODES
    )


def is_throttled(state: BatchState) -> bool:
    """Whether a batch failed only because the upstream has no room for it now."""
    return bool(state.problems) and all(p.line is None and _NO_ROOM.search(p.code) for p in state.problems)


def problems_at_upload(error: UpstreamError, provider: ProviderProfile) -> tuple[Problem, ...]:
    """The line that a refused upload names, where the provider checks lines then: "Line 3: ..." (Doubleword)."""
    if not provider.checks_lines_at_upload or error.status_code not in (400, 403, 422):
        return ()
    reason = reason_given(error.body)
    found = _LINE.match(reason)
    return (Problem(message=reason, line=int(found[1])),) if found else ()


def refused_line(problem: Problem, status_code: int, custom_id: str, batch_id: str | None) -> Answer:
    """The answer to a request that no batch will have: a bad request, as a real-time call's would be."""
    error = {"message": problem.message, "type": "invalid_request_error", "param": None, "code": problem.code or None}
    body = msgspec.json.encode({"error": error})
    return Answer(status_code, body, None, batch_id or "", custom_id)


def ended_error_for(state: BatchState) -> ErrorFor:
    """For requests without a line in a batch that has ended."""
    if state.status == "completed":
        what = "completed, but this request is in neither its output nor its error file"
    elif state.problems:
        what = f"ended as {state.status}: {'; '.join(map(str, state.problems[:_REASONS_SHOWN]))}"
    else:
        what = f"ended as {state.status} before this request was answered"
    code = _NOT_EXECUTED if state.status == "completed" and _counts_less_than_all(state) else None
    return lambda request, batch_id: BatchEndedError(
        f"Batch {batch_id} {what}. The request can be sent again.",
        status=state.status,
        batch_id=batch_id,
        custom_id=request.custom_id,
        body={"code": code, "errors": [str(problem) for problem in state.problems]},
    )


def _counts_less_than_all(state: BatchState) -> bool:
    return state.counts is not None and state.counts.completed + state.counts.failed < state.counts.total


def unsubmitted_error_for(error: UpstreamError, idempotency_key: str) -> ErrorFor:
    """For requests whose batch the upstream did not take, as far as it can be known."""
    if isinstance(error, UncertainCreationError):
        message = (
            "The batch of this request may have been created or not: the upstream did not answer, and could not be "
            f"asked ({error}). Before sending it again, look for a batch whose metadata has {idempotency_key}."
        )
    else:
        message = f"The batch of this request could not be submitted: {error}"

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        unsubmitted = BatchSubmissionError(
            message,
            status_code=error.status_code,
            response_body=error.body or None,
            batch_id=batch_id,
            custom_id=request.custom_id,
        )
        unsubmitted.__cause__ = error.__cause__
        return unsubmitted

    return error_for


def unreachable_error_for(error: UpstreamError) -> ErrorFor:
    """For requests whose batch exists but cannot be polled or read."""

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        unreachable = BatchUnreachableError(
            f"Batch {batch_id} was submitted, but the upstream does not let us read it: {error}. "
            "Check the key and the provider's dashboard: the batch may still run, although we try to cancel it.",
            batch_id=batch_id,
            custom_id=request.custom_id,
        )
        unreachable.__cause__ = error.__cause__
        return unreachable

    return error_for


def overdue_error_for(seconds: float) -> ErrorFor:
    """For requests whose batch does not come to an end."""
    return lambda request, batch_id: BatchTimeoutError(
        f"Batch {batch_id} did not end within {seconds:.0f} seconds, its completion window and a slack.",
        batch_id=batch_id,
        custom_id=request.custom_id,
    )


def closed_error(request: Request, batch_id: str | None) -> BatchError:
    """For requests that wait while the engine stops."""
    when = "before the request was submitted" if batch_id is None else f"before batch {batch_id} completed"
    return ClientClosedError(f"The client was closed {when}.", batch_id=batch_id, custom_id=request.custom_id or None)


def journal_error_for(error: JournalError) -> ErrorFor:
    """For requests that cannot be submitted, since it could not be written down that they are."""
    return lambda request, batch_id: type(error)(error.message, batch_id=batch_id, custom_id=request.custom_id or None)


def defect_error_for(cause: BaseException) -> ErrorFor:
    """For requests that a defect of ours got in the way of."""

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        error = EngineError(
            f"A defect of autobatcher got in the way of this request ({type(cause).__name__}); please report it.",
            batch_id=batch_id,
            custom_id=request.custom_id or None,
        )
        error.__cause__ = cause
        return error

    return error_for
