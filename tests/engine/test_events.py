from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from autobatcher import events
from tests.harness import MODEL, ask, open_harness, outcome_of, wait_for_event

METADATA = {"benchmark_id": "bench-2026-04-14", "github_run_id": "24393857047"}


async def test_a_batchs_life_is_told_in_the_words_existing_users_know() -> None:
    async with open_harness("doubleword", batch_seconds=10) as harness:
        async with harness.client(batch_metadata=METADATA) as client, anyio.create_task_group() as callers:
            callers.start_soon(ask, client, "a")
            callers.start_soon(ask, client, "b")
        names = [event["event"] for event in harness.events]
        assert names[0] == "batch_submitted"
        assert names[-2:] == ["batch_completed", "client_closing"]
        assert set(names[1:-2]) == {"batch_progress"}
        view = harness.emulator.statistics().batches[0]
        submitted = harness.events[0]
        assert {name: submitted[name] for name in submitted if name != "ts"} == {
            "event": "batch_submitted",
            "source": "autobatcher",
            "batch_id": view.id,
            "endpoint": "/v1/chat/completions",
            "input_file_id": view.input_file_id,
            "output_file_id": submitted["output_file_id"],
            "error_file_id": submitted["error_file_id"],
            "request_count": 2,
            "models": [MODEL],
            "completion_window": "24h",
            "metadata": METADATA,
        }
        assert isinstance(submitted["ts"], float)
        completed = harness.events[-2]
        assert completed["counts"] == {"completed": 2, "failed": 0, "total": 2}
        assert completed["elapsed_seconds"] >= 10
        assert METADATA.items() <= view.metadata.items()


async def test_progress_is_told_only_when_something_moved() -> None:
    async with open_harness(batch_seconds=100, validating_seconds=50) as harness:
        async with harness.client(poll_interval_seconds=1) as client, anyio.create_task_group() as callers:
            for i in range(4):
                callers.start_soon(ask, client, str(i))
        told = [(event["status"], str(event["counts"])) for event in harness.events_named("batch_progress")]
        assert len(told) == len(set(told))
        assert len(told) < 12  # of about 150 polls


@pytest.mark.parametrize("who_leaves", ["nobody", "all"])
async def test_the_last_event_counts_who_waited_for_batches_and_who_was_cancelled_with_the_engine(
    who_leaves: str,
) -> None:
    async with open_harness(batch_seconds=500) as harness:
        with anyio.CancelScope() as everything:
            async with anyio.create_task_group() as callers, harness.client(batch_size=4) as client:
                for number in range(13):
                    callers.start_soon(outcome_of, ask(client, str(number)))
                await wait_for_event(harness, "batch_submitted", 3)  # and one call waits in a window
                if who_leaves == "all":
                    everything.cancel()
                    await anyio.lowlevel.checkpoint()
        (closing,) = harness.events_named("client_closing")
        assert closing["pending_request_count"] == 13


async def test_the_last_event_counts_nobody_who_left_long_before() -> None:
    async with open_harness(batch_seconds=500) as harness:
        async with harness.client() as client:
            with anyio.move_on_after(50):
                await ask(client, "x")
            await anyio.sleep(50)
        (closing,) = harness.events_named("client_closing")
        assert closing["pending_request_count"] == 0


async def test_every_event_is_plain_json_and_has_a_typed_form() -> None:
    async with open_harness(batch_seconds=500) as harness:
        async with harness.client(cancel_active_batches_on_close=True) as client:
            async with anyio.create_task_group() as callers:
                callers.start_soon(ask, client, "x")
                await wait_for_event(harness, "batch_progress")
                callers.cancel_scope.cancel()
            await wait_for_event(harness, "batch_cancelled_upstream")
        for fields in harness.events:
            assert type(fields) is dict
            assert json.loads(json.dumps(fields)) == fields
            typed = events.parse(fields)
            assert typed.to_dict() == fields
            with pytest.raises(AttributeError):
                typed.ts = 0.0  # type: ignore[misc]
        assert {type(events.parse(fields)) for fields in harness.events} == {
            events.BatchSubmitted,
            events.BatchProgress,
            events.BatchCancelRequested,
            events.BatchCancelledUpstream,
            events.ClientClosing,
        }


def test_a_dict_that_is_no_event_has_no_typed_form() -> None:
    with pytest.raises(msgspec.ValidationError):
        events.parse({"event": "something_else", "ts": 1.0})


async def test_a_handler_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: dict[str, Any]) -> None:
        raise RuntimeError("of the user's making")

    async with open_harness() as harness, harness.client(batch_event_handler=broken) as client:
        assert "x" in await ask(client, "x")
    assert "batch_event_handler raised" in caplog.text


async def test_every_event_carries_the_users_metadata() -> None:
    async with open_harness(batch_seconds=500) as harness:
        async with harness.client(batch_metadata=METADATA, cancel_active_batches_on_close=True) as client:
            with anyio.move_on_after(50):
                await ask(client, "x")
            await wait_for_event(harness, "batch_cancelled_upstream")
        assert {event["event"]: event["metadata"] for event in harness.events} == dict.fromkeys(
            (
                "batch_submitted",
                "batch_progress",
                "batch_cancel_requested",
                "batch_cancelled_upstream",
                "client_closing",
            ),
            METADATA,
        )
