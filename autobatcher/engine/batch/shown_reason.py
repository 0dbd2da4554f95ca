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

Line = tuple[str, Request]
"""A pending request, with its custom_id."""

_PROBLEMS_SHOWN = 3

_MOST_BYTES_OFTEN = 5_000_000
"""How much is searched for the sake of a refusal that comes again and again. Takes a tenth of a second, in turns."""


async def mask_reason(error: UpstreamError, lines: Iterable[Line]) -> None:
    """Mask it in the reason of a refusal. Withhold the reason of one for want of room if that would take long."""
    lines = list(lines)
    if error.is_throttled and sum(len(request.body) for _, request in lines) > _MOST_BYTES_OFTEN:
        error.mask_reason("")
    elif error.reason:
        error.mask_reason(await _without_quotations(error.reason, lines))


async def reason_of_end(state: BatchState, lines: Iterable[Line]) -> str | None:
    """Why a batch ended as it did; None if its upstream does not say."""
    if not state.problems:
        return None
    said = "; ".join(map(str, state.problems[:_PROBLEMS_SHOWN]))
    return await _without_quotations(printable(said[:MOST_CHARACTERS]), lines)


async def _without_quotations(words: str, lines: Iterable[Line]) -> str:
    bodies = [request.body for _, request in lines]
    return await in_turns(masking(words, bodies))
