"""What single batches were billed, in bounded memory."""

from __future__ import annotations

from autobatcher.money.batch_ledgers import MOST_BATCHES, MOST_SORTS_OF_ONE, BatchLedgers
from autobatcher.money.ledger import OTHER_MODELS, Charge, Fate, Sort
from autobatcher.money.usage import Usage

SORT = Sort("openai", "http://x.test/v1", "m", "/v1/responses", "batch", "24h", Fate.DELIVERED)


def test_each_batch_is_billed_by_itself_and_the_first_ones_are_forgotten() -> None:
    ledgers = BatchLedgers()
    ledgers.add(Charge(SORT, Usage(input=7), ""))  # on another lane
    for number in range(MOST_BATCHES + 1):
        ledgers.add(Charge(SORT, Usage(input=number), f"b{number}"))
    seen = ledgers.snapshot(["", "b0", "b1", "b2", "nobody's"])
    ledgers.add(Charge(SORT, Usage(input=100), "b2"))
    assert {batch_id: [entry.usage.input for _, entry in entries] for batch_id, entries in seen.items()} == {
        "b1": [1],
        "b2": [2],
    }


def test_of_many_models_of_one_batch_the_last_are_counted_together() -> None:
    ledgers = BatchLedgers()
    for number in range(MOST_SORTS_OF_ONE + 10):
        ledgers.add(Charge(SORT._replace(model=f"m{number}"), Usage(input=1), "b"))
    entries = {sort.model: entry.requests for sort, entry in ledgers.snapshot(["b"])["b"]}
    assert (len(entries), entries[OTHER_MODELS]) == (MOST_SORTS_OF_ONE + 1, 10)
