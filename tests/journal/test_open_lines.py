"""`autobatcher receipt` tells what may be billed for batches that are not over: nobody has booked it."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

from autobatcher.cli import main
from autobatcher.engine.journal.store import Store
from tests.harness import open_harness, outcome_of, wait_for_event
from tests.journal.records import a_record
from tests.journal.restarts import Restarts
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, ask_briefly

PRICES = """
["*"]
input = "1.37"
output = "4.19"
batch = {input = "0.53", output = "2.03"}
"""


def told(restarts: Restarts, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """What the command prints."""
    prices = restarts.path.with_name("prices.toml")
    prices.write_text(PRICES)
    capsys.readouterr()
    assert main(["receipt", "--journal", str(restarts.path), "--prices", str(prices), *flags]) == 0
    return capsys.readouterr().out


@pytest.mark.proves("faults", "a process dies while a batch runs, and no other one takes the batch up")
async def test_what_a_dead_program_left_running_is_told_and_covers_the_bill(
    restarts: Restarts, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=500) as harness:
        async with (
            restarts.program(harness, prices=GIVEN_PRICES) as program,
            anyio.create_task_group() as nursery,
        ):
            for number in range(3):
                nursery.start_soon(outcome_of, ask_briefly(program.client, f"question {number}"))
            await wait_for_event(harness, "batch_submitted")
            program.die()
        await anyio.sleep(1_000)  # the batch ends upstream, and nobody reads it
        receipt = json.loads(told(restarts, capsys, "--json"))
        assert (receipt["requests"], receipt["uncertain_requests"]) == (0, harness.emulator.bill().requests)
        (row,) = receipt["rows"]
        assert row["batch_ids"] == list(harness.emulator.bill().by_batch)
        assert Decimal(row["cost"]) >= harness.emulator.bill().total > 0
        assert "of these 3 requests" in told(restarts, capsys)
        async with restarts.program(harness, prices=GIVEN_PRICES) as program, anyio.create_task_group() as nursery:
            for number in range(3):
                nursery.start_soon(ask_briefly, program.client, f"question {number}")
        receipt = json.loads(told(restarts, capsys, "--json"))
        assert (receipt["requests"], receipt["uncertain_requests"]) == (3, 0)
        assert Decimal(receipt["cost"]) == harness.emulator.bill().total


@pytest.mark.parametrize(
    ("fields", "requests"),
    [
        ({"stage": "intended"}, 0),
        ({"stage": "creating"}, 1),
        ({"stage": "created", "batch_id": "b"}, 1),
        ({"stage": "ended"}, 0),
        ({"stage": "calling", "completion_window": "realtime"}, 1),
        ({"stage": "calling", "completion_window": "realtime", "status": "uncertain"}, 0),
        ({"stage": "created", "batch_id": "b", "status": "cancelling", "request_count": 3}, 3),
    ],
)
def test_what_may_be_billed_follows_from_how_far_a_batch_is(
    restarts: Restarts, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], requests: int
) -> None:
    with closing(Store(restarts.path)) as store:
        record = msgspec.structs.replace(a_record("first"), changed_at=1e9, **fields)
        store.intend(record, [(0, "/v1/embeddings", b'{"model":"m","input":"x"}')], is_hash_only=False)
    assert json.loads(told(restarts, capsys, "--json"))["uncertain_requests"] == requests
    assert json.loads(told(restarts, capsys, "--json", "--since", "1d"))["uncertain_requests"] == 0
