"""Prices that the user gives: what is taken, and what is refused at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from autobatcher.money.given_prices import MOST_BYTES, GivenPrices

BOTH = {"input": "0.15", "output": "0.60"}
FILE = """
["gpt-4.1-mini"]
input = "0.40"
output = 1.6
cached = "0.10"
batch = {input = 0.2, output = "0.80"}
1h = {input = "0.30", output = 1}

["qwen/*"]
flex = {input = 1, output = 2}
"""


def test_a_table_has_the_list_price_and_one_for_each_lane_and_window_that_costs_something_else() -> None:
    given = GivenPrices({"m": {**BOTH, "batch": {"input": 1, "output": 2}, "1h": {"input": 3, "output": 4}}})
    found = [given.rates("m", *where) for where in (("realtime", None), ("batch", "24h"), ("batch", "1h"))]
    assert [rates and rates.input for rates in found] == [Decimal("0.15"), 1, 3]
    assert given.rates("m", "flex", None) is None
    assert given.rates("other", "realtime", None) is None
    assert found[0] is not None
    assert found[0].source == "prices="


@pytest.mark.parametrize("number", ["0.1", 0.1, Decimal("0.1")])
def test_a_number_is_the_one_that_was_written(number: object) -> None:
    rates = GivenPrices({"m": {"input": number, "output": 0}}).rates("m", "realtime", None)
    assert rates is not None
    assert (str(rates.input), str(rates.output)) == ("0.1", "0")


def test_the_full_name_comes_before_patterns_and_the_first_pattern_before_others() -> None:
    given = GivenPrices({name: {"input": number, "output": 0} for number, name in enumerate(("a*z", "a*", "abz"))})
    found = {name: given.rates(name, "realtime", None) for name in ("abz", "acz", "az", "ab", "A", "xaz")}
    chosen = {name: rates and rates.input for name, rates in found.items()}
    assert chosen == {"abz": 2, "acz": 0, "az": 0, "ab": 1, "A": None, "xaz": None}


def test_a_star_is_the_only_sign_in_a_pattern() -> None:
    given = GivenPrices({"a.[b]*": BOTH})
    assert given.rates("a.[b]c\n", "realtime", None)
    assert not given.rates("a-b", "realtime", None)


def test_a_file_has_the_same_tables(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(FILE)
    given = GivenPrices.read(path)
    listed, batch = given.rates("gpt-4.1-mini", "realtime", None), given.rates("gpt-4.1-mini", "batch", "24h")
    assert listed is not None
    assert (listed.input, listed.output, listed.cached, listed.source) == (
        *(Decimal("0.40"), Decimal("1.6"), Decimal("0.10")),
        "--prices",
    )
    assert batch is not None
    assert (batch.input, batch.output, batch.cached) == (Decimal("0.2"), Decimal("0.8"), None)
    assert given.rates("qwen/x", "flex", None) is not None
    assert (given.models, given.windows("gpt-4.1-mini")) == (["gpt-4.1-mini", "qwen/*"], ["1h"])
    assert GivenPrices({"m*": {"1h": BOTH}}).windows("mine") == ["1h"]


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ([], r"prices=: must be a table"),
        ({"": BOTH}, "a model's name must be text, not ''"),
        ({3: BOTH}, "a model's name must be text, not 3"),
        ({"m": "0.15"}, "'m' must be a table such as .*, not str"),
        ({"m": {1: 2}}, "'m' must be a table such as .*, not one whose keys are not text"),
        ({"m": {}}, "'m': input is missing"),
        ({"m": {"input": "0.1"}}, "'m': output is missing: USD per million tokens, \"0\" for a model that writes"),
        ({"m": {**BOTH, "batch": 3}}, "'m': batch must be a table"),
        ({"m": {**BOTH, "batch": {"input": 1}}}, "'m': batch: output is missing"),
        ({"m": {**BOTH, "1h": {"input": 1, "output": -1}}}, "'m': 1h: output must be USD per million .*; not -1"),
        ({"m": {**BOTH, "cached": "NaN"}}, "'m': cached must be .*; not 'NaN'"),
        ({"m": {**BOTH, "input": "Infinity"}}, "'m': input must be .*; not 'Infinity'"),
        ({"m": {**BOTH, "input": "0,15"}}, "'m': input must be .*; not '0,15'"),
        ({"m": {**BOTH, "input": "$1"}}, "'m': input must be .*; not '\\$1'"),
        ({"m": {**BOTH, "input": True}}, "'m': input must be .*; not True"),
        ({"m": {**BOTH, "input": None}}, "'m': input must be .*; not None"),
        ({"m": {**BOTH, "input": "1e-13"}}, "'m': input must be .*; not '1e-13'"),
        ({"m": {**BOTH, "input": "1e99999999"}}, "'m': input must be .*; not '1e99999999'"),
        ({"m": {"inptu": "1", "output": 1}}, "'m': there is no key 'inptu'; did you mean 'input'?"),
        ({"m": {**BOTH, "batc": BOTH}}, "'m': there is no key 'batc'; did you mean 'batch'?"),
        (
            {"m": {**BOTH, "windows": {"1h": BOTH}}},
            "'m': there is no key 'windows'; a completion window is written 24h",
        ),
        (
            {"gpt-4": {"1-mini": BOTH}},
            "'gpt-4': there is no key '1-mini'; .*a model's name with a dot stands in quotes",
        ),
        ({"m": {"batch": {**BOTH, "1h": BOTH}}}, "'m': batch: there is no key '1h'"),
    ],
)
def test_what_is_no_price_is_refused_with_the_model_and_the_key(prices: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GivenPrices(prices)


def test_a_key_in_a_file_that_was_given_by_mistake_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for content in ('api-key = "sk-canary"\n', '[serve]\napi-key = "sk-canary"\n', "sk-canary\n"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"config\.toml: ") as raised:
            GivenPrices.read(path)
        assert "sk-canary" not in str(raised.value)


def test_a_file_that_is_none_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    with pytest.raises(ValueError, match=r"^--prices .*prices.toml cannot be read: No such file"):
        GivenPrices.read(path)
    with pytest.raises(ValueError, match=rf"^--prices {tmp_path} cannot be read"):
        GivenPrices.read(tmp_path)
    for content, said in (
        (b"m = 1", "'m' must be a table"),
        (b"[m]\ninput = 0.1\n", "'m': output is missing"),
        (b"[m\n", "Expected"),
        (b"\xff", "utf-8"),
        (b"#" * (MOST_BYTES + 1), "larger than any such file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said) as raised:
            GivenPrices.read(path)
        assert str(raised.value).startswith(f"--prices {path}: ")
