"""What Doubleword says that a batch cost: in its analytics, and not in the batch object.

Source: its open server control-layer, dwctl/src/api/models/batches.rs, 21 August 2026. Requests count there as soon as
they are added up, which is a moment after they were answered. Cached tokens are not told.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from .account import Account
from .answers import decoded
from .batch_state import BatchState, BatchTokens, is_tokens
from .http import UpstreamHTTP
from .identifiers import path_segment

ASK_SECONDS = 10.0
"""How long the answer may take."""

_MOST_DIGITS = 40


class BatchAnalytics:
    """Asks upstreams for the analytics of batches."""

    def __init__(self, http: UpstreamHTTP) -> None:
        self._http = http

    async def tokens(self, account: Account, state: BatchState) -> BatchTokens | None:
        """Ask once what a batch that has ended took; None if that is not said, or not all of it yet.

        Raises:
            UpstreamError: if the upstream refuses, or cannot be reached.

        Cancelled: nothing was changed anywhere.
        """
        path = f"/batches/{path_segment(state.id)}/analytics"
        answer = await self._http.call(account, "GET", path, seconds=ASK_SECONDS)
        completed = state.counts.completed if state.counts is not None else None
        return tokens_in(decoded("GET /batches/{id}/analytics", answer), completed)


def tokens_in(analytics: Any, completed: int | None) -> BatchTokens | None:
    """The tokens of a batch and what they cost; None if they are not those of all lines that were executed.

    Args:
        completed: how many these are, as the batch says.
    """
    told = analytics if isinstance(analytics, dict) else {}
    read, written, reasoning = (told.get(f"total_{name}_tokens") for name in ("prompt", "completion", "reasoning"))
    is_whole = is_tokens(told.get("total_requests")) and told["total_requests"] == completed
    if not (is_whole and is_tokens(read) and is_tokens(written)):
        return None
    return BatchTokens(read, None, written, reasoning if is_tokens(reasoning) else None, cost=_amount(told))


def _amount(told: dict[str, Any]) -> Decimal | None:
    """What was billed, in USD, which its credits are."""
    amount = told.get("total_cost")
    try:
        found = Decimal(amount) if isinstance(amount, str) and len(amount) <= _MOST_DIGITS else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() and abs(found.adjusted()) <= _MOST_DIGITS else None
