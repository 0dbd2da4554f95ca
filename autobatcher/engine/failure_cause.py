"""Finds out what a request failed for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import BatchEndedError, BatchError, BatchSubmissionError
from ..printable import printable
from ..upstream import bounded_json
from ..upstream.failures import reason_given
from ..upstream.reasons import code_in
from .failure import Failure
from .request import Answer, Request

MOST_CHARACTERS = 300
"""How long a message is at most."""

_MOST_CODE_CHARACTERS = 100
_MOST_READ_BYTES = 100_000


def failure_of(
    request: Request, outcome: Answer | BatchError, reason: str | None, masked: Callable[[str, bytes], str]
) -> Failure:
    """What a failed request failed for.

    Args:
        outcome: an error, or an answer with a status from 400 on.
        reason: why its whole batch failed, without quotations; None looks into the outcome.
        masked: masks quotations; see `quotations.masked`.
    """
    status, said, code = _told(outcome)
    words = masked(said[:MOST_CHARACTERS], request.body) if reason is None else reason
    return Failure(
        status,
        printable(code[:_MOST_CODE_CHARACTERS]) if code else None,
        printable(words[:MOST_CHARACTERS]),
        outcome.lane if isinstance(outcome, Answer) else request.lane,
        outcome.batch_id or None,
    )


def _told(outcome: Answer | BatchError) -> tuple[int, str, str | None]:
    """The status, the reason and the code."""
    if isinstance(outcome, Answer):
        return outcome.status_code, *_told_in(outcome.body)
    if isinstance(outcome, BatchSubmissionError):
        status, content = outcome.status_code or 0, outcome.response_body
        return (status, *_told_in(content)) if content else (status, outcome.message, None)
    body: Any = outcome.body if isinstance(outcome.body, dict) else {}
    code, said = body.get("code"), body.get("message") if isinstance(outcome, BatchEndedError) else None
    return 0, str(said or outcome.message), str(code) if code else None


def _told_in(content: bytes) -> tuple[str, str | None]:
    if len(content) > _MOST_READ_BYTES:
        return f"an answer of {len(content):,} bytes", None
    try:
        code = code_in(bounded_json.decode(content))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        code = None
    return reason_given(content), code
