"""The most that may be spent, as users write it: "20", "20/day". Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import NamedTuple


class Period(Enum):
    """How long a cap counts."""

    ALWAYS = ""
    """As long as the client lives; with a journal, as long as its charges are kept."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def began_at(self, now: float) -> float:
        """When the period of `now` began. Both in Unix seconds; periods begin in UTC, weeks on Monday."""
        if self is Period.ALWAYS:
            return 0.0
        hour = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
        day = hour.replace(hour=0)
        begins = {
            Period.HOUR: hour,
            Period.DAY: day,
            Period.WEEK: day - timedelta(days=day.weekday()),
            Period.MONTH: day.replace(day=1),
        }
        return begins[self].timestamp()


class Cap(NamedTuple):
    """The most that may be spent, in USD, in one period."""

    amount: Decimal
    period: Period = Period.ALWAYS

    def __str__(self) -> str:
        return f"${self.amount:f}" + (f" a {self.period.value}" if self.period is not Period.ALWAYS else "")


def cap_of(value: object) -> Cap:
    """Read a cap: a number of dollars, or a text such as "20", "$20" or "20/day".

    Raises:
        TypeError, ValueError: with the end of a sentence that begins with the name of the setting.
    """
    if isinstance(value, Cap):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise TypeError(f'must be dollars, such as 20 or "20/day", not {value!r:.80}')
    text, _, period = str(value).strip().partition("/")
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise ValueError(f'must be dollars, such as 20 or "20/day", not {value!r:.80}') from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"must not be negative or infinite: {value!r:.80}")
    return Cap(amount, _period_of(period.strip().lower(), has_one="/" in str(value)))


def _period_of(name: str, *, has_one: bool) -> Period:
    try:
        found = Period(name)
    except ValueError:
        found = Period.ALWAYS
    if has_one and found is Period.ALWAYS:
        known = ", ".join(period.value for period in Period if period is not Period.ALWAYS)
        raise ValueError(f"must count for one of {known}, not for {name!r:.80}")
    return found
