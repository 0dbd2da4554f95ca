"""What tokens cost at the emulator: a list of prices of its own, the first that fits counts. Pure."""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from .tiers import Lane
from .usage import Usage

EXACT = Context(prec=500, traps=[DivisionByZero, Inexact, InvalidOperation, Overflow])
"""Never rounds: an error comes before a wrong digit."""

_MOST_DIGITS = 30


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """USD for a million tokens, for the requests that it fits.

    model:     a pattern for the model, such as "gpt-*".
    lane:      "batch", "flex" or "realtime"; None: any.
    window:    the completion window of a batch; None: any.
    more_than: only for requests with more input tokens than this.
    input, output: what they cost.
    cached:    what input from a cache costs; None: as much as other input.
    cache_write: what input costs that is written into a cache; None: as much as other input.

    Raises:
        ValueError: a price is negative, or no number, or has more than 30 digits.
    """

    model: str = "*"
    lane: Lane | None = None
    window: str | None = None
    more_than: int | None = None
    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None

    def __post_init__(self) -> None:
        for price in (self.input, self.output, self.cached or Decimal(), self.cache_write or Decimal()):
            if not price.is_finite() or price < 0:
                raise ValueError(f"a price must be a number from 0 on: {price}")
            if len(price.as_tuple().digits) > _MOST_DIGITS or abs(price.adjusted()) > _MOST_DIGITS:
                raise ValueError(f"a price must have at most {_MOST_DIGITS} digits: {price}")

    def fits(self, model: str, lane: Lane, window: str) -> bool:
        """Whether it is for such requests, however long they are."""
        return self.lane in (None, lane) and self.window in (None, window) and fnmatchcase(model, self.model)

    def cost(self, usage: Usage) -> Decimal:
        """What so many tokens cost: exact, not rounded."""
        cached = self.input if self.cached is None else self.cached
        kept = self.input if self.cache_write is None else self.cache_write
        with localcontext(EXACT):
            plain = usage.input - usage.cached - usage.cache_write
            asked = plain * self.input + usage.cached * cached + usage.cache_write * kept
            millionths = asked + usage.output * self.output
            return millionths.scaleb(-6)


def _sold(model: str, input_price: str, cached_price: str, output_price: str) -> tuple[Price, ...]:
    """A model's prices: a batch and flex cost half of real time, a batch within an hour costs three quarters."""
    shares = (("batch", "1h", "0.75"), ("batch", None, "0.5"), ("flex", None, "0.5"), ("realtime", None, "1"))
    return tuple(
        Price(
            model=model,
            lane=lane,  # type: ignore[arg-type]
            window=window,
            input=Decimal(input_price) * Decimal(share),
            cached=Decimal(cached_price) * Decimal(share),
            output=Decimal(output_price) * Decimal(share),
        )
        for lane, window, share in shares
    )


DEFAULT_PRICES: tuple[Price, ...] = (
    *_sold("gpt-emulator", "1.00", "0.10", "4.00"),
    *_sold("text-embedding-emulator", "0.02", "0.02", "0"),
    *_sold("gpt-4o-mini", "0.15", "0.075", "0.60"),
    *_sold("gpt-5-mini*", "0.25", "0.025", "2.00"),
    *_sold("text-embedding-3-small", "0.02", "0.02", "0"),
    *_sold("*", "2.00", "0.50", "8.00"),
)
"""Made up for tests. The last ones are for every other model."""


class PriceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices: the first that fits a request counts. Requests that none fits have a default price."""

    prices: tuple[Price, ...] = ()

    @property
    def whole(self) -> tuple[Price, ...]:
        """With the default prices."""
        return (*self.prices, *DEFAULT_PRICES)

    @classmethod
    def from_json(cls, text: bytes | str) -> PriceList:
        """Loads a list from JSON. Raises `msgspec.ValidationError`, which names the invalid field."""
        return msgspec.json.decode(text, type=cls)

    @classmethod
    def load(cls, path: str | Path) -> PriceList:
        return cls.from_json(Path(path).read_bytes())
