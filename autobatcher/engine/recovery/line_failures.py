"""How a batch ended for one of its lines, as engines of a shared journal tell one another."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import BatchEndedError


class LineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """What a `BatchEndedError` says, but for what the line itself has: an answer that nobody could read stays out."""

    message: str
    status: str
    batch_id: str | None
    body: Any

    def error(self, custom_id: str) -> BatchEndedError:
        """The error for the caller who waits for that line."""
        return BatchEndedError(
            self.message, status=self.status, batch_id=self.batch_id, custom_id=custom_id, body=self.body
        )


def encoded(error: BatchEndedError) -> str:
    """As the journal keeps it."""
    body = (
        {name: value for name, value in error.body.items() if name != "line"} if isinstance(error.body, dict) else None
    )
    failure = LineFailure(message=error.message, status=error.status, batch_id=error.batch_id, body=body)
    return msgspec.json.encode(failure).decode()


def decoded(ending: str) -> LineFailure:
    """What another engine has told."""
    return msgspec.json.decode(ending, type=LineFailure)
