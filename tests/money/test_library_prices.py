"""Prices of genai-prices: to the last digit what it computes, and nothing where it only repeats the list price."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from autobatcher.money.price_list import PriceList
from autobatcher.money.rates import Rates
from autobatcher.money.usage import Usage
from autobatcher.upstream.providers import AZURE, CONSERVATIVE, KNOWN_PROFILES, OPENAI, ProviderProfile

library = pytest.importorskip("genai_prices")  # the extra `money`
snapshot = pytest.importorskip("genai_prices.data_snapshot").get_snapshot()

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
CONTEXTS = {"realtime": None, "batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}}
USAGES = (Usage(1000, 0, 300), Usage(1234, 567, 89, 80), Usage(300_001, 100_000, 20_000))


def prices_of(profile: ProviderProfile, base_url: str = "https://x.test/v1", now: datetime = NOON) -> PriceList:
    """The library's prices alone, on every lane."""
    bare = dataclasses.replace(profile, price_notes=(), flex_endpoints=frozenset({CHAT, EMBEDDINGS}))
    return PriceList(bare, base_url, None, wall_clock=now.timestamp)


def rates(listed: PriceList, model: str, lane: str = "realtime", endpoint: str = CHAT) -> Rates | None:
    return listed.rates(model, lane=lane, completion_window=None, endpoint=endpoint)


def computed(provider: str, model: str, usage: Usage, lane: str = "realtime", now: datetime = NOON) -> Decimal:
    tokens = library.Usage(input_tokens=usage.input, cache_read_tokens=usage.cached, output_tokens=usage.output)
    calculation = library.calc_price(
        tokens, model, provider_id=provider, genai_request_timestamp=now, price_context=CONTEXTS[lane]
    )
    total: Decimal = calculation.total_price
    return total


PROVIDERS = sorted(
    {profile.price_provider for profile in KNOWN_PROFILES if profile.price_provider}
    | {"anthropic", "deepseek", "google", "x-ai"}  # batches of other shapes, prices by the hour
)


def priced() -> Iterator[tuple[str, str, str, Rates]]:
    """Provider, model and lane of every price that is known."""
    for provider in PROVIDERS:
        listed = prices_of(dataclasses.replace(CONSERVATIVE, price_provider=provider))
        for model in listed.models():
            for lane in CONTEXTS:
                if found := rates(listed, model, lane):
                    yield provider, model, lane, found


def test_every_price_is_what_the_library_computes_to_the_last_digit() -> None:
    lanes = set()
    for provider, model, lane, found in priced():
        lanes.add((lane, bool(found.tiers), found.cached is not None))
        for usage in USAGES:
            assert found.cost(usage) == computed(provider, model, usage, lane), (provider, model, lane, usage)
    assert lanes >= {(lane, *others) for lane in CONTEXTS for others in ((False, True), (True, True), (True, False))}


def test_a_lane_that_costs_what_the_list_says_is_one_of_which_the_library_says_so() -> None:
    models = {(each.id, model.id): model for each in snapshot.providers for model in each.models}
    for provider, model, lane, _ in priced():
        costs = [(computed(provider, model, usage), computed(provider, model, usage, lane)) for usage in USAGES]
        if lane != "realtime" and any(listed == of_lane for listed, of_lane in costs):
            assert any(variant.when == CONTEXTS[lane] for variant in models[provider, model].price_variants)


@pytest.mark.proves("faults", "nobody says what a model costs on a lane, or genai-prices repeats its list price there")
@pytest.mark.parametrize(
    ("profile", "model", "lane", "endpoint"),
    [
        (OPENAI, "gpt-4o-mini", "flex", CHAT),
        (OPENAI, "gpt-5.3-codex", "batch", CHAT),
        (OPENAI, "text-embedding-3-small", "batch", EMBEDDINGS),
        (AZURE, "gpt-4o", "batch", CHAT),  # OpenAI's list price, but not OpenAI's batches
        (OPENAI, "gpt-4o-mini", "scale", CHAT),
        (OPENAI, "text-embedding-3-small", "priority", EMBEDDINGS),
    ],
)
def test_a_lane_of_which_the_library_knows_nothing_is_unknown_and_not_the_list_price(
    profile: ProviderProfile, model: str, lane: str, endpoint: str
) -> None:
    listed = prices_of(profile)
    assert rates(listed, model, "realtime", endpoint) is not None
    assert rates(listed, model, lane, endpoint) is None


def test_a_model_for_embeddings_writes_nothing_and_a_model_for_chat_does() -> None:
    listed = prices_of(OPENAI)
    embeddings = rates(listed, "text-embedding-3-small", endpoint=EMBEDDINGS)
    assert embeddings is not None
    assert (str(embeddings.input), str(embeddings.output)) == ("0.02", "0")
    assert rates(listed, "text-embedding-3-small", endpoint=CHAT) is None


def test_a_price_is_the_one_of_the_day() -> None:
    moments = [datetime(2026, month, day, hour, tzinfo=UTC) for month, day, hour in ((10, 17, 12), (10, 18, 0))]
    found = []
    for now in moments:
        listed = prices_of(dataclasses.replace(CONSERVATIVE, price_provider="doubleword"), now=now)
        found.append(rates(listed, "google/gemma-4-31B-it"))
        assert found[-1] is not None
        assert found[-1].cost(USAGES[0]) == computed("doubleword", "google/gemma-4-31B-it", USAGES[0], now=now)
    assert [rates and str(rates.as_of) for rates in found] == ["None", "2026-10-18"]


def test_a_price_that_changes_while_a_program_runs_is_noticed() -> None:
    now = [datetime(2026, 10, 17, 23, 59, tzinfo=UTC).timestamp()]
    profile = dataclasses.replace(CONSERVATIVE, price_provider="doubleword")
    listed = PriceList(profile, "https://x.test/v1", None, wall_clock=lambda: now[0])
    before = rates(listed, "google/gemma-4-31B-it")
    assert rates(listed, "google/gemma-4-31B-it") is before
    now[0] += 60
    assert rates(listed, "google/gemma-4-31B-it") != before


@pytest.mark.proves("faults", "nobody says what a model costs on a lane, or genai-prices repeats its list price there")
@pytest.mark.parametrize(
    ("base_url", "is_known"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.OpenAI.com:443/v1", True),
        ("https://api.openai.com.gateway.test/v1", False),
        ("https://gateway.test/https://api.openai.com/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_an_unknown_server_has_nobodys_prices(base_url: str, is_known: bool) -> None:
    assert (rates(prices_of(CONSERVATIVE, base_url), "gpt-4o-mini") is not None) == is_known


def test_a_profile_can_say_whose_prices_a_gateway_has() -> None:
    profile = dataclasses.replace(CONSERVATIVE, name="openai-like", price_provider="openai")
    assert rates(prices_of(profile), "gpt-4o-mini") is not None
    resembling = dataclasses.replace(profile, price_provider="my-openai-gateway")
    assert rates(prices_of(resembling), "gpt-4o-mini") is None


def test_every_provider_of_which_a_profile_speaks_is_in_the_library() -> None:
    known = {provider.id for provider in snapshot.providers}
    assert {profile.price_provider for profile in KNOWN_PROFILES} - {None} <= known


def test_a_price_that_tokens_do_not_explain_is_unknown() -> None:
    listed = prices_of(dataclasses.replace(CONSERVATIVE, price_provider="perplexity"))
    found = listed.look_up("sonar", lane="realtime", completion_window=None, endpoint=CHAT)
    assert "not billed by tokens alone" in str(found)


def test_names_that_are_none_have_no_price() -> None:
    listed = prices_of(OPENAI)
    for name in ("", "x" * 100_000, "gpt-4o-mini\n", "../gpt-4o-mini"):
        assert rates(listed, name) is None
