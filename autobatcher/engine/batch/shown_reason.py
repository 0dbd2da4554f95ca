"""Why a whole batch failed, in words that may be shown: what they quote of any of its prompts is masked."""

from __future__ import annotations

from collections.abc import Iterable

from ...printable import printable
from ...turns import in_turns
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ..failure_cause import MOST_CHARACTERS
from ..quotations import masking
from ..request import Request

_PROBLEMS_SHOWN = 3


async def mask_reason(error: UpstreamError, requests: Iterable[Request]) -> None:
    """Mask it in the reason of a refusal."""
    if error.reason:
        error.mask_reason(await _without_quotations(error.reason, requests))


async def reason_of_end(state: BatchState, requests: Iterable[Request]) -> str | None:
    """Why a batch ended as it did; None if its upstream does not say."""
    if not state.problems:
        return None
    said = "; ".join(map(str, state.problems[:_PROBLEMS_SHOWN]))
    return await _without_quotations(printable(said[:MOST_CHARACTERS]), requests)


async def _without_quotations(words: str, requests: Iterable[Request]) -> str:
    bodies = [request.body for request in requests]
    return await in_turns(masking(words, bodies))
