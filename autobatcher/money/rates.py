"""What a model's tokens cost on one lane. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial

from .exact import EXACT, ZERO
from .usage import Usage

PER_TOKENS = 1_000_000
"""Rates are for so many tokens."""

_MILLIONTH = -6


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a request with more than `over` input tokens. They hold for all its tokens.

    Attributes:
        over: the largest number of input tokens that still costs less.
        input: USD per million input tokens.
        output: USD per million output tokens.
        cached: USD per million cached input tokens; None if they cost what other input costs.
        cache_write: the same for input tokens that are written into the cache.
    """

    over: int
    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """What the tokens of one model cost on one lane, in USD per million.

    Attributes:
        input: USD per million input tokens.
        output: USD per million output tokens, reasoning included.
        cached: USD per million cached input tokens; None if they cost what other input costs.
        cache_write: the same for input tokens that are written into the cache.
        tiers: rates of longer requests, the shortest first.
        source: "--prices", "prices=", "provider", or the library and its version.
        as_of: the date from which the rates hold, or on which they were looked up; None if nobody says.
        detail: where the source has them from.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    source: str = ""
    as_of: date | None = None
    detail: str = ""
    cache_write: Decimal | None = None

    @property
    def prices_cache_writes(self) -> bool:
        """Whether tokens that are written into the cache have a price of their own."""
        return self.cache_write is not None or any(tier.cache_write is not None for tier in self.tiers)

    def cost(self, usage: Usage, request_input: int | None = None) -> Decimal:
        """Return what these tokens cost, in USD: exact, not rounded.

        Args:
            usage: the tokens of one request, or of several of the same tier.
            request_input: the input tokens of one of those requests; by default all of `usage`.
        """
        rates = self.tier(usage.input if request_input is None else request_input)
        cached = min(usage.cached, usage.input)
        kept = min(usage.cache_write, usage.input - cached)
        parts = (
            (usage.input - cached - kept, rates.input),
            (cached, rates.input if rates.cached is None else rates.cached),
            (kept, rates.input if rates.cache_write is None else rates.cache_write),
            (usage.output, rates.output),
        )
        total = ZERO
        for tokens, rate in parts:
            total = EXACT.add(total, EXACT.multiply(tokens, rate))
        return EXACT.scaleb(total, _MILLIONTH)

    def most(self, usage: Usage, request_input: int | None = None) -> Decimal:
        """Return what they cost at most: nobody knows how many of them are written into a cache, which may cost more.

        Args:
            usage, request_input: as of `cost`.
        """
        all_written = usage._replace(cache_write=usage.input)
        return max(self.cost(usage, request_input), self.cost(all_written, request_input))

    def less(self, discount: Decimal, *, source: str, as_of: date, detail: str) -> Rates:
        """Return these rates less a discount, such as 0.5 for half.

        A discount says nothing of cached input, which is therefore not taken to be cheaper than other input. What is
        written into a cache stays as much dearer as it is.
        """
        share = EXACT.subtract(Decimal(1), discount)
        by = partial(EXACT.multiply, share)
        tiers = tuple(
            Tier(each.over, by(each.input), by(each.output), None, each.cache_write and by(each.cache_write))
            for each in self.tiers
        )
        written = self.cache_write and by(self.cache_write)
        return Rates(by(self.input), by(self.output), None, tiers, source, as_of, detail, written)

    def tier(self, request_input: int) -> Rates | Tier:
        """Return the rates of a request with so many input tokens."""
        reached: Rates | Tier = self
        for tier in self.tiers:
            if request_input > tier.over:
                reached = tier
        return reached


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """No price can be told.

    Attributes:
        reason: why, in words that follow "the price of MODEL is unknown: ...".
    """

    reason: str
