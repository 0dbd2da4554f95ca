"""What a provider's statement of a whole batch says beyond its answers. Pure."""

from __future__ import annotations

from ..upstream.batch_state import BatchTokens
from .exact import EXACT
from .rates import PER_TOKENS, Rates
from .usage import Usage


def beyond_answers(stated: BatchTokens, told: Usage, rates: Rates | None) -> Usage | None:
    """The tokens of a batch of one model that no answer told; None if the statement does not tell what they cost.

    Args:
        stated: by the provider, of the whole batch.
        told: by the answers.
        rates: of the model.
    """
    if stated.cache_write is None and rates is not None and rates.prices_cache_writes:
        return None
    cached = _cached(stated, told, rates)
    if cached is None:
        return None
    beyond = Usage(
        stated.input - told.input,
        cached,
        stated.output - told.output,
        0 if stated.reasoning is None else stated.reasoning - told.reasoning,
        0 if stated.cache_write is None else stated.cache_write - told.cache_write,
    )
    is_more = min(beyond) >= 0 and beyond.cached + beyond.cache_write <= beyond.input
    return beyond if is_more else None  # one that says less than the answers is not complete yet


def _cached(stated: BatchTokens, told: Usage, rates: Rates | None) -> int | None:
    """How many of them came from a cache. Where that is not stated, it follows from what the whole batch cost."""
    if stated.cached is not None:
        return stated.cached - told.cached
    if rates is None or (rates.cached is None and not rates.tiers):
        return 0
    if rates.cached is None or rates.tiers or stated.cost is None:
        return None
    plain = rates.cost(Usage(stated.input, told.cached, stated.output))
    saved = EXACT.multiply(EXACT.subtract(plain, stated.cost), PER_TOKENS)
    each = EXACT.subtract(rates.input, rates.cached)
    if not each or not saved:
        return None if saved else 0
    cached = int(saved / each)
    return cached if EXACT.multiply(each, cached) == saved else None
