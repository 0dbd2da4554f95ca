"""Rates: exact sums, discounts, and the tiers of long requests."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction

from autobatcher.money.rates import Rates, Tier
from autobatcher.money.usage import Usage

RATES = Rates(Decimal("0.15"), Decimal("0.60"), Decimal("0.075"))
LONG = Rates(
    *(Decimal(2), Decimal(10), Decimal(1)),
    tiers=(Tier(100, Decimal(4), Decimal(20), Decimal(2)), Tier(1000, Decimal(8), Decimal(40))),
)


def test_a_cost_is_that_of_input_and_output_with_cached_input_at_its_own_rate() -> None:
    assert RATES.cost(Usage(input=1_000_000)) == Decimal("0.15")
    assert RATES.cost(Usage(output=1_000_000, reasoning=900_000)) == Decimal("0.60")
    assert RATES.cost(Usage(input=1_000_000, cached=400_000)) == Decimal("0.12")
    assert RATES.cost(Usage()) == 0


def test_cached_input_without_a_rate_costs_what_other_input_costs() -> None:
    rates = Rates(Decimal("0.15"), Decimal("0.60"))
    assert rates.cost(Usage(1000, 400, 10)) == rates.cost(Usage(1000, 0, 10))


def test_more_cached_tokens_than_input_make_no_negative_cost() -> None:
    assert RATES.cost(Usage(input=10, cached=1000)) == RATES.cost(Usage(input=10, cached=10))


def test_a_cost_is_exact_whatever_the_decimal_context_of_the_program() -> None:
    rates = Rates(Decimal("0.123456789012"), Decimal("999999.999999999999"))
    tokens = 2**40 - 1
    with localcontext() as context:
        context.prec = 3
        cost = rates.cost(Usage(tokens, 0, tokens))
        half = rates.less(Decimal("0.5"), source="provider", as_of=date(2026, 11, 26), detail="a page")
    assert Fraction(cost) == Fraction(tokens * (123456789012 + 999999999999999999), 10**18)
    assert half.input == Decimal("0.061728394506")


def test_a_request_over_the_threshold_costs_the_tiers_rates_for_all_its_tokens() -> None:
    million = Decimal(1_000_000)
    assert LONG.cost(Usage(100, 50, 10)) * million == 50 * 2 + 50 * 1 + 10 * 10
    assert LONG.cost(Usage(101, 50, 10)) * million == 51 * 4 + 50 * 2 + 10 * 20
    assert LONG.cost(Usage(1001, 50, 10)) * million == 1001 * 8 + 10 * 40


def test_a_sum_of_requests_costs_what_each_of_them_costs() -> None:
    one = Usage(90, 10, 5)
    together = Usage(*(20 * tokens for tokens in one))
    assert LONG.cost(together, request_input=90) == 20 * LONG.cost(one)
    assert LONG.cost(together) != 20 * LONG.cost(one)


def test_a_discount_is_on_every_tier_and_says_nothing_of_cached_input() -> None:
    less = LONG.less(Decimal("0.4"), source="provider", as_of=date(2026, 11, 26), detail="a page")
    assert (less.input, less.output, less.cached) == (Decimal("1.2"), Decimal(6), None)
    assert [(tier.over, tier.input, tier.output, tier.cached) for tier in less.tiers] == [
        (100, Decimal("2.4"), Decimal(12), None),
        (1000, Decimal("4.8"), Decimal(24), None),
    ]
    assert (less.source, less.as_of, less.detail) == ("provider", date(2026, 11, 26), "a page")
