"""A receipt in words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from autobatcher.money.receipt import Receipt, ReceiptRow
from autobatcher.money.receipt_text import MOST_NAMED, markdown, sentence
from autobatcher.money.usage import Usage


def row(cost: str | None = "1", list_price: str | None = "4", **fields: Any) -> ReceiptRow:
    given: dict[str, Any] = {"requests": 2, "unpriced": 2 if cost is None else 0, "model": "m", "fate": "delivered"}
    return ReceiptRow(
        **{
            **given,
            "provider": "openai",
            "endpoint": "/v1/responses",
            "lane": "batch",
            "completion_window": "24h",
            "tokens": Usage(input=1_000, output=10),
            "cost": None if cost is None else Decimal(cost),
            "list_price": None if list_price is None else Decimal(list_price),
            "source": "prices=",
            "batch_ids": ("batch_1",),
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "nothing was billed"),
        ([row()], "$1.00 for 2 requests instead of $4.00 ($3.00 saved, 75 %)"),
        ([row(requests=1)], "$1.00 for 1 request instead of $4.00 ($3.00 saved, 75 %)"),
        ([row(), row("1", None, fate="paid_twice")], "$2.00 for 4 requests instead of $4.00 ($2.00 saved, 50 %)"),
        ([row(None, None)], "2 requests of unknown price"),
        (
            [row(), row(None, None)],
            "$1.00 for 2 requests instead of $4.00 ($3.00 saved, 75 %); 2 requests of unknown price",
        ),
        ([row("1", None)], "$1.00 for 2 requests; the list price is unknown"),
        (
            [row(), row("7", None)],
            "$8.00 for 4 requests, $1.00 of it instead of $4.00 ($3.00 saved, 75 %); "
            "the list price of 2 requests is unknown",
        ),
        ([row("5", None, fate="unknown")], "nothing was billed; 2 more may have been executed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sentence_says_what_is_known_and_what_is_not(rows: list[ReceiptRow], said: str) -> None:
    assert sentence(Receipt(tuple(rows))) == said


def test_what_nobody_knows_is_no_saving() -> None:
    """Doubleword publishes no list prices."""
    assert Receipt((row("1", None),)).as_dict()["saving"] is None
    whole = Receipt((row(), row("7", None))).as_dict()
    assert (whole["cost"], whole["list_price"], whole["saving"], whole["unlisted_requests"]) == ("8", "4", "3", 2)


def test_names_of_models_mean_nothing_in_markdown() -> None:
    text = markdown(Receipt((row(model="a|b <img src=x> [x](http://evil.test) `c`\x1b\n# d"),)))
    (line,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert line.replace("\\|", "").count("|") == 12
    assert not any(mark in line.replace(f"\\{mark[0]}", "") for mark in ("<img", "](", "`c`", "\x1b"))


def test_a_summary_does_not_grow_with_what_was_sent() -> None:
    rows = tuple(
        row(model=f"m{number}", batch_ids=tuple(f"b{number}-{each}" for each in range(9))) for number in range(999)
    )
    text = markdown(Receipt(rows))
    assert len(text) < 30_000
    assert f"and {999 - MOST_NAMED} more rows" in text
    assert f"and {9 * 999 - MOST_NAMED:,} more batches" in text
