"""The errors that are ours, each a subclass of the nearest `openai` exception.

A line that the upstream answered with an HTTP failure is not one of these: it reaches its caller as the SDK's own
exception class (`openai.RateLimitError`, `openai.BadRequestError`, ...) with that status, body and request id.
The classes below are for what only a batch can meet. All of them are `openai.APIError`, so an `except
openai.APIError` written for the real-time client keeps working.
"""

from __future__ import annotations

from typing import Any, cast

import openai


class BatchError(openai.APIError):
    """A request was not answered because of what happened to its batch.

    Attributes:
        batch_id: the upstream batch, or None if there was none yet.
        custom_id: the line of the batch, or None if the request never became one.
        status_code: the HTTP status that says it best, for programs that look for one; the proxy answers with it.
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
        # The HTTP request is known at the door only; the door fills it in before a caller sees the error.
        openai.APIError.__init__(self, message, cast("Any", None), body=body)
        self.batch_id = batch_id
        self.custom_id = custom_id

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes; the HTTP request, which does not, is left behind."""
        fields = {name: value for name, value in self.__dict__.items() if name != "request"}
        return _restored, (type(self), self.message, fields)


def _restored(kind: type[BatchError], message: str, fields: dict[str, Any]) -> BatchError:
    error = kind.__new__(kind, message)
    BatchError.__init__(error, message)
    error.__dict__.update(fields)
    return error


class UnbatchableRequestError(BatchError, ValueError):
    """The request cannot be put in a batch at all; nothing was sent.

    Raised for a body that is no JSON object, for a body larger than the provider allows in one line, and for an
    endpoint or a feature (multipart, streaming) that the provider has no batch for.

    Attributes:
        param: the field of the body that is to blame, or None.
    """

    status_code: int | None = 400

    def __init__(self, message: str, *, param: str | None = None) -> None:
        BatchError.__init__(self, message)
        self.param = param


class BatchSubmissionError(BatchError, openai.APIConnectionError):
    """The batch could not be handed over: the upload or the creation failed for good.

    Attributes:
        status_code: the upstream's HTTP status, or None if it could not be reached.
        response_body: what it said, as bytes; None if it could not be reached.
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
    """The batch came to its end without an answer for this request.

    Attributes:
        status: how it ended: "failed", "expired", "cancelled", or "completed" when the line is in neither file.
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
    """The batch exists, but the upstream no longer lets us see it (a lasting 401, 403, 404, ...)."""


class BatchTimeoutError(BatchError, openai.APITimeoutError):
    """The call waited as long as its `timeout` said, or its batch did not end within its window and the slack."""

    status_code: int | None = 504


class ClientClosedError(BatchError, openai.APIConnectionError):
    """The client was closed, or the nursery that ran it ended, before the request was answered."""

    status_code: int | None = 503


class WrongEventLoopError(BatchError, RuntimeError):
    """The client is in use in another event loop: make one client for each, or wait until that loop ends."""

    status_code: int | None = 500


class EngineError(BatchError):
    """A defect of autobatcher itself; `__cause__` has the original error. Please report it."""

    status_code: int | None = 500


class JournalError(BatchError):
    """The journal cannot be used: its file is not writable, is no journal, is of a later version, or its disk is full.

    Nothing that is not in the journal is sent.
    """

    status_code: int | None = 500


class JournalInUseError(JournalError):
    """Another engine, in this process or another one, uses that journal: it takes one at a time."""

    status_code: int | None = 503
