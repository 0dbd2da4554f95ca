"""Receipts against the emulator's bill, which is written independently."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator, Price, PriceList
from autobatcher.money.receipt import Receipt

_RATES = {"input": "1.37", "cached": "0.41", "output": "4.19"}
_BATCH = {"input": "0.53", "cached": "0.17", "output": "2.03"}
_HOUR = {"input": "0.97", "cached": "0.29", "output": "3.01"}
_FLEX = {"input": "0.61", "cached": "0.19", "output": "2.11"}

GIVEN_PRICES: dict[str, Any] = {"*": {**_RATES, "batch": _BATCH, "1h": _HOUR, "flex": _FLEX}}
"""For clients. No two sums are equal by chance."""


_LANES: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    (_HOUR, {"lane": "batch", "window": "1h"}),
    (_BATCH, {"lane": "batch"}),
    (_FLEX, {"lane": "flex"}),
    (_RATES, {}),
)


def _wordy(rates: dict[str, str]) -> dict[str, str]:
    return {**rates, "output": str(1000 * Decimal(rates["output"]))}


WORDY_GIVEN_PRICES: dict[str, Any] = {
    "*": {**_wordy(_RATES), "batch": _wordy(_BATCH), "1h": _wordy(_HOUR), "flex": _wordy(_FLEX)}
}
"""Output costs nearly all, so that what `ask_briefly` may cost is hardly more than what it does cost."""


def _price(rates: dict[str, Any], **lane: Any) -> Price:
    amounts: dict[str, Any] = {name: Decimal(rate) for name, rate in rates.items()}
    return Price(**amounts, **lane)


BILLED_PRICES = PriceList(tuple(_price(rates, **lane) for rates, lane in _LANES))
"""The same for the emulator."""


WORDY_BILLED_PRICES = PriceList(tuple(_price(_wordy(rates), **lane) for rates, lane in _LANES))


async def ask_briefly(client: BatchOpenAI, text: str, model: str = "m", *, tokens: int = 3) -> str:
    """Ask for a few tokens."""
    completion = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=tokens
    )
    return completion.choices[0].message.content or ""


def check_receipt(receipt: Receipt, emulator: Emulator) -> None:
    """What was executed is told to the last digit, and what may have been is told as that, and covers the rest."""
    total, bill = receipt.total, emulator.bill()
    missing = bill.requests - total.requests
    told = f"{total.requests} and perhaps {total.uncertain} requests told, {bill.requests} billed"
    assert total.cost <= bill.total, told
    is_stated = any(row.fate == "stated" for row in receipt.rows)  # it covers requests whose number nobody knows
    assert is_stated or 0 <= missing <= total.uncertain, told
    if is_stated and not total.uncertain:
        assert total.cost == bill.total, told
    if not missing:
        assert total.cost == bill.total, told
        assert total.list_price <= bill.list_total
