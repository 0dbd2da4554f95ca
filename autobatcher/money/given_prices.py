"""Prices that the user gives: `prices=`, or a TOML file by `--prices`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from ..upstream.price_note import WHAT_A_PRICE_IS, is_named, is_price
from ..upstream.provider_file import did_you_mean
from .rates import Rates

PRICES_ARGUMENT, PRICES_FLAG = "prices=", "--prices"

MOST_BYTES = 10_000_000
"""So that a wrong path such as /dev/zero ends."""

_RATES = ("input", "output", "cached", "cache_write")
_LANES = ("batch", "flex", "priority", "fast", "scale", "performance")
"""Lanes, and service tiers of real time, by the names that OpenAI, Google and Groq give them."""

_WINDOW = re.compile(r"\d+[smhdw]")


class GivenPrices:
    """What the user says of prices, in USD per million tokens.

    A model has the list price, and a table for each lane, service tier and completion window that costs something else:

        {"gpt-4o-mini": {"input": "0.15", "output": "0.60", "cached": "0.075",
                         "batch": {"input": "0.075", "output": "0.30"},
                         "flex": {"input": "0.075", "output": "0.30"},
                         "1h": {"input": "0.10", "output": "0.40"}}}

    A `*` in a name stands for anything. The full name comes first, then the first pattern that fits. Numbers are text,
    int, Decimal or float.

    Args:
        prices: a table for each model.
        source: what the rates are said to come from.

    Raises:
        ValueError: if something is no price. The message names the model and the key.
    """

    def __init__(self, prices: Mapping[str, Any], *, source: str = PRICES_ARGUMENT) -> None:
        if not isinstance(prices, Mapping):
            raise ValueError(f"{source}: must be a table with a table for each model, not {type(prices).__name__}")
        self._models = {name: _lanes(name, table, source) for name, table in prices.items()}

    @property
    def models(self) -> list[str]:
        """The names and patterns that have prices, as they were given."""
        return list(self._models)

    def rates(self, model: str, lane: str, window: str | None) -> Rates | None:
        """Return what was given for a model on a lane; None if nothing was. A window's own rates come first."""
        lanes = self._of(model)
        if lane == "batch" and window in lanes:
            return lanes[window]
        return lanes.get(lane)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> GivenPrices:
        """Read prices from a TOML file, in which a model is a table.

        Raises:
            ValueError: if the file cannot be read, or has something that is no price. The message names the file.
        """
        where = f"{PRICES_FLAG} {os.fspath(path)}"
        try:
            return cls(msgspec.toml.decode(_content(Path(path))), source=PRICES_FLAG)
        except OSError as error:
            raise ValueError(f"{where} cannot be read: {error.strerror or error}") from error
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"{where}: {str(error).removeprefix(PRICES_FLAG + ': ')}") from error

    def windows(self, model: str) -> list[str]:
        """Return the completion windows for which a model has rates of their own."""
        return [lane for lane in self._of(model) if _WINDOW.fullmatch(lane)]

    def _of(self, model: str) -> dict[str, Rates]:
        if (lanes := self._models.get(model)) is not None:
            return lanes
        return next((lanes for name, lanes in self._models.items() if is_named(model, name)), {})


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than any such file: {MOST_BYTES:,} bytes at most")
    return content


def _lanes(model: object, table: object, source: str) -> dict[str, Rates]:
    """The rates of one model, by "realtime", another lane or a completion window."""
    if not isinstance(model, str) or not model.strip():
        raise ValueError(f"{source}: a model's name must be text, not {model!r}")
    where = f"{source}: {model!r}"
    found = _table(table, where)
    lanes = {key: _rates(_table(found[key], f"{where}: {key}"), f"{where}: {key}", source) for key in _lane_keys(found)}
    own = {key: value for key, value in found.items() if key not in lanes}
    if own or not lanes:
        _refuse_unknown_keys(own, where, (*_RATES, *_LANES, "1h"))
        lanes["realtime"] = _rates(own, where, source)
    return lanes


def _lane_keys(table: Mapping[str, Any]) -> list[str]:
    return [key for key in table if key in _LANES or _WINDOW.fullmatch(key)]


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        # The value is not told: it may be a key, if the file is not one of prices.
        what = "one whose keys are not text" if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f'{where} must be a table such as {{"input": "0.15", "output": "0.60"}}, not {what}')
    return value


def _refuse_unknown_keys(table: Mapping[str, Any], where: str, known: tuple[str, ...]) -> None:
    for key, value in table.items():
        if key in _RATES:
            continue
        hint = did_you_mean(key, known)
        if isinstance(value, Mapping) and not hint:
            hint = "; a completion window is written 24h, and in TOML a model's name with a dot stands in quotes"
        raise ValueError(f"{where}: there is no key {key!r}{hint}")


def _rates(table: Mapping[str, Any], where: str, source: str) -> Rates:
    _refuse_unknown_keys(table, where, _RATES)
    for key in ("input", "output"):
        if key not in table:
            extra = ', "0" for a model that writes nothing' if key == "output" else ""
            raise ValueError(f"{where}: {key} is missing: USD per million tokens{extra}")
    rates = {key: _price(value, f"{where}: {key}") for key, value in table.items()}
    cached, written = rates.get("cached"), rates.get("cache_write")
    return Rates(rates["input"], rates["output"], cached, source=source, cache_write=written)


def _price(value: object, where: str) -> Decimal:
    price = _number(value)
    if price is None or not is_price(price):
        raise ValueError(f"{where} must be {WHAT_A_PRICE_IS}; not {value!r}")
    return price


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
