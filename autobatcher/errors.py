"""Errors of autobatcher, each a subclass of the closest `openai` exception.

An HTTP error that the upstream returned for one request is not among them: it is raised as the SDK's own exception
(`openai.RateLimitError`, `openai.BadRequestError`, ...) with its status, body and request id. The classes below cover
what only a batch can run into. All derive from `openai.APIError`, so an `except openai.APIError` written for the
real-time client keeps working.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any, cast

import openai

__all__ = [
    "BatchError",
    "UnbatchableRequestError",
    "BatchSubmissionError",
    "BatchEndedError",
    "BatchUnreachableError",
    "BatchTimeoutError",
    "DeadlineMissedError",
    "BudgetExceededError",
    "ClientClosedError",
    "WrongEventLoopError",
    "EngineError",
    "IdempotencyKeyReusedError",
    "JournalError",
    "JournalUnreachableError",
    "JournalInUseError",
]


class BatchError(openai.APIError):
    """The batch of a request ended, failed or was stopped before the request was answered.

    Attributes:
        batch_id: the upstream batch; None if none was created.
        custom_id: the request's line in the batch; None if the request never became one.
        status_code: the closest HTTP status, for programs that look for one. The proxy responds with it.
    """

    status_code: int | None = 502
    batch_id: str | None
    custom_id: str | None

    def __init__(
        self,
        message: str,
        *,
        batch_id: str | None = None,
        custom_id: str | None = None,
        body: object | None = None,
    ) -> None:
        # Only the client knows the HTTP request. It fills it in before a caller sees the error.
        openai.APIError.__init__(self, message, cast("Any", None), body=body)
        self.batch_id = batch_id
        self.custom_id = custom_id

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything but the HTTP request, which cannot be pickled."""
        fields = {name: value for name, value in self.__dict__.items() if name != "request"}
        return _restored, (type(self), self.message, fields)


def _restored(kind: type[BatchError], message: str, fields: dict[str, Any]) -> BatchError:
    error = kind.__new__(kind, message)
    BatchError.__init__(error, message)
    error.__dict__.update(fields)
    return error


class UnbatchableRequestError(BatchError, ValueError):
    """The request cannot be part of any batch. Nothing was sent.

    Raised if the body is not a JSON object or exceeds the provider's limit for one line, and for an endpoint or feature
    (multipart, streaming) that the provider does not batch.

    Attributes:
        param: the body's field that is at fault; None if no single one is.
    """

    status_code: int | None = 400

    def __init__(self, message: str, *, param: str | None = None) -> None:
        BatchError.__init__(self, message)
        self.param = param


class BatchSubmissionError(BatchError, openai.APIConnectionError):
    """The batch could not be submitted: its upload or its creation failed permanently.

    Attributes:
        status_code: the upstream's HTTP status; None if it could not be reached.
        response_body: the upstream's response body; None if it could not be reached.
    """

    status_code: int | None
    response_body: bytes | None

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        response_body: bytes | None = None,
        batch_id: str | None = None,
        custom_id: str | None = None,
    ) -> None:
        BatchError.__init__(self, message, batch_id=batch_id, custom_id=custom_id)
        self.status_code = status_code
        self.response_body = response_body


class BatchEndedError(BatchError):
    """The batch ended without an answer to this request.

    Attributes:
        status: how it ended: "failed", "expired" or "cancelled"; "completed" if the line is in neither result file.
    """

    status: str

    def __init__(
        self,
        message: str,
        *,
        status: str,
        batch_id: str | None = None,
        custom_id: str | None = None,
        body: object | None = None,
    ) -> None:
        BatchError.__init__(self, message, batch_id=batch_id, custom_id=custom_id, body=body)
        self.status = status


class BatchUnreachableError(BatchError, openai.APIConnectionError):
    """The batch was created, but the upstream persistently refuses access to it (401, 403, 404, ...). Or a flex or
    real-time call may have been executed and billed, and its answer is lost."""


class BatchTimeoutError(BatchError, openai.APITimeoutError):
    """The call's `timeout` expired, or its batch did not end within its completion window plus
    `deadline_slack_seconds`."""

    status_code: int | None = 504


class DeadlineMissedError(BatchError, openai.APITimeoutError):
    """There was no answer by the deadline, or no lane that the call may use can answer that soon.

    A batch in which others wait goes on.

    Attributes:
        may_have_been_billed: whether the call may have been executed and billed: it was in a batch, or a flex or
            real-time call was running. False if nothing of it was sent, or certainly nothing was executed.
    """

    status_code: int | None = 504
    may_have_been_billed: bool

    def __init__(
        self,
        message: str,
        *,
        batch_id: str | None = None,
        custom_id: str | None = None,
        may_have_been_billed: bool = False,
    ) -> None:
        BatchError.__init__(self, message, batch_id=batch_id, custom_id=custom_id)
        self.may_have_been_billed = may_have_been_billed


class BudgetExceededError(BatchError, openai.PermissionDeniedError):
    """The request may cost more than `max_cost` leaves, or its price is unknown and such requests are refused.

    Nothing was sent, and nothing else is disturbed. All amounts are in USD.

    Attributes:
        spent: what counts as spent in the current period.
        reserved: what running and waiting requests may cost.
        asked: what this request may cost; None if its price is unknown.
        cap: the most that may be spent; None if the request was refused because its price is unknown.
        setting: what refused it: "max_cost", "max_cost_per_account" or "unknown_prices".
        reason: the message without the advice at its end.
    """

    status_code: int | None = 402  # type: ignore[assignment]  # 403 in the SDK's class
    spent: Decimal
    reserved: Decimal
    asked: Decimal | None
    cap: Decimal | None
    setting: str
    reason: str
    request_id: str | None

    def __init__(
        self,
        reason: str,
        *,
        advice: str,
        setting: str,
        spent: Decimal,
        reserved: Decimal,
        asked: Decimal | None,
        cap: Decimal | None,
    ) -> None:
        message = f"{reason} {advice}"
        amounts = {"spent": spent, "reserved": reserved, "asked": asked, "cap": cap}
        texts = {name: None if amount is None else f"{amount:f}" for name, amount in amounts.items()}
        BatchError.__init__(self, message, body={"code": "budget_exceeded", "message": message, **texts})
        self.request_id: str | None = None
        self.spent, self.reserved, self.asked, self.cap = spent, reserved, asked, cap
        self.setting, self.reason = setting, reason

    @property
    def response(self) -> Any:  # type: ignore[override]  # an attribute there
        """What a server would have answered: 402, and no retry."""
        client = next(base for base in openai.DefaultHttpxClient.__mro__ if base.__name__ == "Client")
        library = sys.modules[client.__module__.partition(".")[0]]  # httpx, or httpx2
        request = getattr(self, "request", None)
        headers = {"x-should-retry": "false"}
        return library.Response(402, json={"error": self.body}, headers=headers, request=request)


class ClientClosedError(BatchError, openai.APIConnectionError):
    """The client was closed, or the nursery that ran it ended, before the request was answered."""

    status_code: int | None = 503


class WrongEventLoopError(BatchError, RuntimeError):
    """The client is in use in another event loop. Make one client per loop, or wait until that loop ends."""

    status_code: int | None = 500


class EngineError(BatchError):
    """A bug in autobatcher. `__cause__` is the original exception. Please report it."""

    status_code: int | None = 500


class IdempotencyKeyReusedError(BatchError):
    """A client of the proxy used an `Idempotency-Key` for another request before, at this replica or another one."""

    status_code: int | None = 409

    def __init__(self) -> None:
        BatchError.__init__(
            self, "This Idempotency-Key belongs to a request with another body. Use a new key for a new request."
        )


class JournalError(BatchError):
    """The journal cannot be used: not writable, not a journal, of a newer version, or its disk is full.

    Requests that cannot be recorded in the journal are not sent.
    """

    status_code: int | None = 500


class JournalUnreachableError(JournalError):
    """The database that keeps the journal cannot be reached now. It was tried for `journal_patience_seconds`."""

    status_code: int | None = 503


class JournalInUseError(JournalError):
    """Another engine, in this process or another, uses this journal. Only one can at a time."""

    status_code: int | None = 503
