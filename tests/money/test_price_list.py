"""Where a price is from, and what is unknown. Prices of genai-prices have tests of their own."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pytest

from autobatcher.money.given_prices import GivenPrices
from autobatcher.money.price_list import PriceList
from autobatcher.money.rates import Rates, UnknownPrice
from autobatcher.upstream.price_note import PriceNote
from autobatcher.upstream.providers import CONSERVATIVE, DOUBLEWORD, KNOWN_PROFILES, MOONSHOT, OPENAI, ProviderProfile

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


def noted(*notes: PriceNote) -> ProviderProfile:
    return dataclasses.replace(CONSERVATIVE, name="mine", flex_endpoints=frozenset({CHAT}), price_notes=notes)


def note(lane: Literal["batch", "flex", "realtime"], price: int, **fields: Any) -> PriceNote:
    rates = {"input": Decimal(price), "output": Decimal(price)}
    return PriceNote(**{"lane": lane, **rates, "source": "a page", "as_of": date(2026, 11, 1), **fields})


def discount(share: str, **fields: Any) -> PriceNote:
    return PriceNote(lane="batch", discount=Decimal(share), source="a page", as_of=date(2026, 11, 1), **fields)


def price_list(
    profile: ProviderProfile, given: dict[str, Any] | None = None, base_url: str = "https://x.test/v1"
) -> PriceList:
    return PriceList(profile, base_url, None if given is None else GivenPrices(given), wall_clock=lambda: NOON)


def rates(
    listed: PriceList, lane: str = "batch", window: str | None = None, model: str = "m", endpoint: str = CHAT
) -> Rates | None:
    return listed.rates(model, lane=lane, completion_window=window, endpoint=endpoint)


def input_rate(*arguments: Any, **named: Any) -> Decimal | None:
    found = rates(*arguments, **named)
    return None if found is None else found.input


def why_unknown(listed: PriceList, lane: str = "batch", model: str = "m", endpoint: str = CHAT) -> str:
    found = listed.look_up(model, lane=lane, completion_window=None, endpoint=endpoint)
    assert isinstance(found, UnknownPrice)
    return found.reason


def test_what_was_given_comes_before_what_the_provider_says_lane_by_lane() -> None:
    profile = noted(note("batch", 7), note("flex", 8), note("realtime", 9))
    listed = price_list(profile, {"m": {"input": 1, "output": 1, "flex": {"input": 2, "output": 2}}})
    assert [input_rate(listed, lane) for lane in ("realtime", "flex", "batch")] == [1, 2, 7]
    assert [input_rate(listed, lane, model="n") for lane in ("realtime", "flex", "batch")] == [9, 8, 7]
    found = rates(listed, "batch")
    assert found is not None
    assert (found.source, found.detail, found.as_of) == ("provider", "a page", date(2026, 11, 1))


def test_a_window_has_its_own_price_and_no_other_windows() -> None:
    listed = price_list(
        noted(note("batch", 1, window="24h"), note("batch", 2, window="1h")), {"n": {"1h": {"input": 3, "output": 3}}}
    )
    assert [input_rate(listed, "batch", window) for window in ("24h", "1h", "7d", None)] == [1, 2, None, None]
    assert [input_rate(listed, "batch", window, model="n") for window in ("24h", "1h")] == [1, 3]


def test_a_note_is_for_the_models_that_it_names() -> None:
    listed = price_list(noted(note("batch", 1, models=("a", "b*"))))
    assert [input_rate(listed, model=model) for model in ("a", "aa", "b", "bb", "c")] == [1, None, 1, 1, None]


def test_a_discount_is_on_the_list_price_wherever_that_is_from() -> None:
    given = {"m": {"input": "0.5", "output": "1.5", "cached": "0.1"}}
    found = rates(price_list(noted(discount("0.4")), given))
    assert found is not None
    assert (found.input, found.output, found.cached) == (Decimal("0.3"), Decimal("0.9"), None)
    assert found.detail == "a page; the list price from prices="
    assert input_rate(price_list(noted(discount("0.4"), note("realtime", 10)))) == 6
    assert rates(price_list(noted(discount("0.4")))) is None


def test_flex_has_a_price_only_where_it_is_sold() -> None:
    listed = price_list(noted(note("flex", 1)))
    assert input_rate(listed, "flex") == 1
    assert why_unknown(listed, "flex", endpoint=EMBEDDINGS) == "the profile mine has no flex for /v1/embeddings"


def test_endpoints_that_are_not_billed_by_tokens_alone_have_no_price_unless_it_is_given() -> None:
    images = "/v1/images/generations"
    assert (
        why_unknown(price_list(noted(note("batch", 1))), endpoint=images) == f"{images} is not billed by tokens alone"
    )
    assert input_rate(price_list(CONSERVATIVE, {"m": {"batch": {"input": 1, "output": 1}}}), endpoint=images) == 1


def test_without_the_library_its_prices_are_unknown_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    listed = price_list(OPENAI)
    listed.warm()
    assert listed.list_rates("gpt-4o-mini", endpoint=CHAT) is None
    assert why_unknown(listed, model="gpt-4o-mini").endswith("pip install 'autobatcher[money]>=1'")
    assert input_rate(listed, model="text-embedding-3-small", endpoint=EMBEDDINGS) == Decimal("0.01")


def test_names_of_strangers_fill_no_memory() -> None:
    listed = price_list(noted(note("batch", 1)))
    for number in range(10_000):
        rates(listed, model=f"m{number}")
    assert len(listed._found) <= 4096


def test_doubleword_sells_the_same_model_at_a_price_for_each_window_and_for_flex() -> None:
    listed = price_list(DOUBLEWORD)
    model = "Qwen/Qwen3.5-397B-A17B"
    lanes = (("batch", "24h"), ("batch", "1h"), ("flex", None))
    assert [input_rate(listed, *lane, model=model) for lane in lanes] == [
        Decimal("0.15"),
        Decimal("0.3"),
        Decimal("0.3"),
    ]


def test_kimis_batches_are_cheaper_for_the_one_model_that_it_batches() -> None:
    given = {name: {"input": 1, "output": 2} for name in ("kimi-k2.5", "kimi-k3")}
    listed = price_list(MOONSHOT, given)
    assert input_rate(listed, model="kimi-k2.5") == Decimal("0.6")
    assert input_rate(listed, model="kimi-k3") is None


def test_every_price_of_a_provider_says_since_when_and_where() -> None:
    notes = [note for profile in KNOWN_PROFILES for note in profile.price_notes]
    assert notes
    for each in notes:
        assert date(2026, 1, 1) <= each.as_of <= date(2026, 11, 26)
        assert "." in each.source, "a host"
