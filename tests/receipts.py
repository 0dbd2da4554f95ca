"""Receipts against the emulator's bill, which is written independently."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from autobatcher.emulator import Emulator, Price, PriceList
from autobatcher.money.receipt import Receipt

_RATES = {"input": "1.37", "cached": "0.41", "output": "4.19"}
_BATCH = {"input": "0.53", "cached": "0.17", "output": "2.03"}
_HOUR = {"input": "0.97", "cached": "0.29", "output": "3.01"}
_FLEX = {"input": "0.61", "cached": "0.19", "output": "2.11"}

GIVEN_PRICES: dict[str, Any] = {"*": {**_RATES, "batch": _BATCH, "1h": _HOUR, "flex": _FLEX}}
"""For clients. No two sums are equal by chance."""


def _price(rates: dict[str, Any], **lane: Any) -> Price:
    amounts: dict[str, Any] = {name: Decimal(rate) for name, rate in rates.items()}
    return Price(**amounts, **lane)


BILLED_PRICES = PriceList(
    (
        _price(_HOUR, lane="batch", window="1h"),
        _price(_BATCH, lane="batch"),
        _price(_FLEX, lane="flex"),
        _price(_RATES),
    )
)
"""The same for the emulator."""


def check_receipt(receipt: Receipt, emulator: Emulator) -> None:
    """What was executed is told to the last digit, and what may have been is told as that, and covers the rest."""
    total, bill = receipt.total, emulator.bill()
    missing = bill.requests - total.requests
    told = f"{total.requests} and perhaps {total.uncertain} requests told, {bill.requests} billed"
    assert total.cost <= bill.total, told
    assert 0 <= missing <= total.uncertain, told
    if not missing:
        assert total.cost == bill.total, told
        assert total.list_price <= bill.list_total
