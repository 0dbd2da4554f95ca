"""The outcome of a request, given what happened to its line or batch. Pure. All error texts are here, but for budgets.

Functions named `*_error_for` return an `ErrorFor`, which makes a separate error for each caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ..errors import (
    BatchEndedError,
    BatchError,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
    ClientClosedError,
    DeadlineMissedError,
    EngineError,
    JournalError,
)
from ..upstream import bounded_json
from ..upstream.batch_state import BatchState, Problem
from ..upstream.failures import UncertainCreationError, UnusableAnswerError, UpstreamError, reason_given
from ..upstream.output_line import INVALID_STATUS, MAX_RAW_BYTES, TOO_LARGE, OutputLine
from ..upstream.providers import ProviderProfile
from ..upstream.reasons import codes_in, lacks_capacity, lacks_money
from .lanes.lane import Overrun
from .request import Answer, ErrorFor, Request

_REASONS_SHOWN = 3
_PROBLEMS_KEPT = 100
"""How many problems of a batch each of its callers gets. There may be as many of either."""


def line_outcome(line: OutputLine, batch_id: str) -> Answer | BatchError:
    """Return the outcome of a result line. An HTTP response of any status is an `Answer`; a line without one is an
    error."""
    if line.status_code is not None:
        return Answer(line.status_code, line.body, line.request_id, batch_id, line.custom_id)
    code = f" ({line.error_code})" if line.error_code else ""
    raw = {"line": line.raw.decode(errors="replace")} if line.raw else {}
    return BatchEndedError(
        f"Batch {batch_id} did not get an answer to this request: {line.error}{code}",
        status="expired" if line.error_code == "batch_expired" else "failed",
        batch_id=batch_id,
        custom_id=line.custom_id,
        body={"code": line.error_code, "message": line.error, **raw},
    )


def may_be_paid_answer(line: OutputLine) -> bool:
    """Whether a line is an answer, or would be one if it could be read. Its request is not sent again."""
    return line.status_code is not None or line.error_code in (INVALID_STATUS, TOO_LARGE)


_RETRYABLE_STATUSES = frozenset({408, 409, 429, *range(500, 600)})

_NOT_EXECUTED = "not_executed"

MISSING = "missing"
"""The code of a line that may have been paid for, and has no result. It is not retryable, however its batch ended."""

_UNREADABLE = "unreadable_line"

_RETRYABLE_ENDS = frozenset({"expired"})
"""Statuses after which a line without an answer is retried. A "failed" batch may fail again, a cancelled one was
meant to stop, and what a completed batch counts as done was paid for, even if it cannot be found."""

_RETRYABLE_CODES = frozenset({_NOT_EXECUTED, "batch_expired", "NetworkError", "Timeout", "TaskTerminated"})
"""Error codes of lines that were not executed, or not to the end: OpenAI's, then those of Doubleword's fusillade."""

_LINE = re.compile(r"Line (\d+): ")


def is_retryable(outcome: Answer | BatchError) -> bool:
    """Whether the same request may succeed in a later batch: it was not refused, but got no real answer."""
    if isinstance(outcome, Answer):
        return outcome.status_code >= 400 and _is_retryable_answer(outcome)
    if not isinstance(outcome, BatchEndedError):
        return False
    code = outcome.body.get("code") if isinstance(outcome.body, dict) else None
    return code != MISSING and (outcome.status in _RETRYABLE_ENDS or code in _RETRYABLE_CODES)


def _is_retryable_answer(answer: Answer) -> bool:
    """Whether a failure is worth another batch. The code decides before the status."""
    try:
        codes = codes_in(bounded_json.decode(answer.body)) if len(answer.body) <= MAX_RAW_BYTES else frozenset()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        codes = frozenset()
    if lacks_money(codes):
        return False
    return answer.status_code in _RETRYABLE_STATUSES or lacks_capacity(codes)


def was_executed(error: BatchError) -> bool:
    """Whether a line was executed, and billed, although its answer is missing or cannot be read."""
    code = error.body.get("code") if isinstance(error.body, dict) else None
    return code in (INVALID_STATUS, TOO_LARGE, MISSING, _UNREADABLE)


def is_throttled(state: BatchState) -> bool:
    """Whether a batch failed only because the upstream has no capacity for it now."""
    return bool(state.problems) and all(
        problem.line is None and lacks_capacity(frozenset({problem.code})) for problem in state.problems
    )


def problems_at_upload(error: UpstreamError, provider: ProviderProfile) -> tuple[Problem, ...]:
    """Return the line that a refused upload names ("Line 3: ..."), for providers that check lines then (Doubleword)."""
    if not provider.checks_lines_at_upload or error.status_code not in (400, 403, 422):
        return ()
    reason = reason_given(error.body)
    found = _LINE.match(reason)
    message = f"{reason} {error.advice}".rstrip()
    return (Problem(message=message, line=int(found[1])),) if found else ()


def rejected_line(problem: Problem, status_code: int, custom_id: str, batch_id: str | None) -> Answer:
    """Make the answer to a request whose line was rejected: a bad request, like that of a real-time call."""
    error = {"message": problem.message, "type": "invalid_request_error", "param": None, "code": problem.code or None}
    body = msgspec.json.encode({"error": error})
    return Answer(status_code, body, None, batch_id or "", custom_id)


def ended_error_of(
    state: BatchState, *, resubmits_missing: bool = False, was_paid: bool = False
) -> Callable[[str | None], BatchEndedError]:
    """Make the error, by custom_id, for requests without a line in a batch that has ended.

    Args:
        resubmits_missing: whether a line that the batch counts as done is retryable.
        was_paid: whether the counts name results that were never found, so that nobody knows which lines were paid for.
    """
    if state.status == "completed":
        what = "completed, but this request is in neither its output nor its error file"
    elif state.problems:
        what = f"ended as {state.status}: {'; '.join(map(str, state.problems[:_REASONS_SHOWN]))}"
    else:
        what = f"ended as {state.status} before this request was answered"
    is_retryable = state.status == "completed" and (resubmits_missing or _counts_less_than_all(state))
    code = MISSING if was_paid else _NOT_EXECUTED if is_retryable else None
    errors = [str(problem) for problem in state.problems[:_PROBLEMS_KEPT]]
    return lambda custom_id: BatchEndedError(
        f"Batch {state.id} {what}. The request can be sent again.",
        status=state.status,
        batch_id=state.id,
        custom_id=custom_id,
        body={"code": code, "errors": errors[:]},
    )


def _counts_less_than_all(state: BatchState) -> bool:
    return state.counts is not None and state.counts.completed + state.counts.failed < state.counts.total


def unreadable_error_for(line: bytes) -> ErrorFor:
    """For a request whose result no parser can read. It was paid for, so it is not sent again."""
    return lambda request, batch_id: BatchEndedError(
        f"Batch {batch_id} has a result of this request that is no JSON; `body` of this error has the line.",
        status="completed",
        batch_id=batch_id,
        custom_id=request.custom_id,
        body={"code": _UNREADABLE, "line": line[:MAX_RAW_BYTES].decode(errors="replace")},
    )


def unsubmitted_error_for(error: UpstreamError, idempotency_key: str) -> ErrorFor:
    """For requests whose batch the upstream did not accept, as far as known."""
    if isinstance(error, UncertainCreationError):
        message = (
            "The batch of this request may have been created or not: the upstream did not answer, and the lookup "
            f"failed ({error}). Before you send it again, look for a batch whose metadata has {idempotency_key}."
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
    """For requests whose batch did not end by its deadline."""
    return lambda request, batch_id: BatchTimeoutError(
        f"Batch {batch_id} did not end within {seconds:.0f} seconds (completion window plus slack).",
        batch_id=batch_id,
        custom_id=request.custom_id,
    )


def hopeless_deadline_error(request: Request, least_seconds: float) -> DeadlineMissedError:
    """For a request that none of its lanes can answer in time."""
    lanes = " and ".join(lane.value for lane in request.terms.lanes)
    return DeadlineMissedError(
        f"The deadline cannot be kept: it has passed, or the lanes that this call may use ({lanes}) need more time, "
        f"{_rounded(least_seconds)} seconds at best. Nothing was sent. Set a later deadline, or allow a faster lane, "
        f"such as realtime at full price ({_LANES})."
    )


def _rounded(seconds: float) -> str:
    """Seconds for people: never 0 unless they are."""
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2g}"


_LANES = "`lanes`; serve and run: --lanes"
_OVERRUN = 'on_overrun="pay_twice" (serve and run: --on-overrun)'
"""How settings are called where they can be set. Whoever reads an error may be a client of a proxy."""


def missed_deadline_error(request: Request, batch_id: str | None) -> DeadlineMissedError:
    """For a request whose deadline has passed."""
    where, bill = "no answer", ""
    if batch_id is not None:
        where, bill = f"no answer from batch {batch_id}", " The batch may have executed it, or still do, and bill it."
    elif request.may_have_been_billed:
        bill = " What was under way for it may have been executed and billed."
    return DeadlineMissedError(
        f"The deadline of this call has passed, with {where}.{bill}",
        batch_id=batch_id,
        custom_id=request.custom_id or None,
        may_have_been_billed=bool(bill),
    )


def uncertain_call_error_for(lane: str, error: UpstreamError) -> ErrorFor:
    """For a call on another lane that was executed without a usable answer, as far as known."""
    if isinstance(error, UnusableAnswerError):
        what = f"was executed, and its answer cannot be used ({error}). It is not repeated, since it was billed"
    else:
        what = f"was cut off ({error}). It may have been executed and billed, so it is not repeated"

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        is_cut_off = not isinstance(error, UnusableAnswerError)
        repeats = f"; {_OVERRUN} repeats it once" if is_cut_off and request.terms.overrun is Overrun.MISS else ""
        uncertain = BatchUnreachableError(
            f"The call on the {lane} lane {what}{repeats}.",
            custom_id=request.custom_id or None,
            body=error.body[:MAX_RAW_BYTES].decode(errors="replace") or None,
        )
        uncertain.__cause__ = error.__cause__
        return uncertain

    return error_for


def earlier_call_error(lane: str, custom_id: str) -> BatchUnreachableError:
    """For a request that equals an earlier call on another lane, of which nobody knows whether it was executed."""
    return BatchUnreachableError(
        f"An equal call on the {lane} lane was cut off before, when its process ended or its caller left. It may have "
        "been executed and billed, and its answer is lost. So this one was not sent; the next one will be. "
        f"{_OVERRUN} repeats such calls at once.",
        custom_id=custom_id,
    )


def unavailable_error_for(lane: str, error: UpstreamError) -> ErrorFor:
    """For a call on another lane that could not be made."""

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        unavailable = BatchSubmissionError(
            f"The call could not be made on the {lane} lane: {error}",
            status_code=error.status_code,
            response_body=error.body or None,
        )
        unavailable.__cause__ = error.__cause__
        return unavailable

    return error_for


def closed_error(request: Request, batch_id: str | None) -> BatchError:
    """For requests that wait while the engine stops."""
    when = "before the request was submitted" if batch_id is None else f"before batch {batch_id} completed"
    return ClientClosedError(f"The client was closed {when}.", batch_id=batch_id, custom_id=request.custom_id or None)


def journal_error_for(error: JournalError) -> ErrorFor:
    """For requests that cannot be submitted because the journal cannot record them."""
    return lambda request, batch_id: type(error)(error.message, batch_id=batch_id, custom_id=request.custom_id or None)


def defect_error_for(cause: BaseException) -> ErrorFor:
    """For requests that failed because of a bug in autobatcher."""

    def error_for(request: Request, batch_id: str | None) -> BatchError:
        error = EngineError(
            f"A bug in autobatcher broke this request ({type(cause).__name__}); please report it.",
            batch_id=batch_id,
            custom_id=request.custom_id or None,
        )
        error.__cause__ = cause
        return error

    return error_for
