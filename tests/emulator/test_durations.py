"""How long batches take, and what a cancellation leaves of them."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import openai
import pytest

from autobatcher.emulator import BatchFault, Emulator, Fault, FaultPlan, LogNormal, Recorded

from .doors import chat_line, create_batch, open_sdk, read_lines

DAY = 86_400
LINES = [chat_line(f"r{i}") for i in range(10)]


def _emulator(*faults: Fault, **settings: Any) -> Emulator:
    return Emulator(faults=FaultPlan(faults), **{"shuffle": False, **settings})


async def _durations(emulator: Emulator, count: int, **order: Any) -> list[int]:
    """How long each of so many batches takes, in whole seconds."""
    with emulator:
        async with open_sdk(emulator) as sdk:
            ids = [(await create_batch(sdk, LINES[:1], **order)).id for _ in range(count)]
            await anyio.sleep(DAY - 1)
            batches = [await sdk.batches.retrieve(batch_id) for batch_id in ids]
    return [(batch.completed_at or 0) - batch.created_at for batch in batches]


async def _outcome(sdk: openai.AsyncOpenAI, batch_id: str) -> tuple[str, list[str], dict[str, str]]:
    """The status of a batch, the custom_ids in its output file, and the codes in its error file."""
    batch = await sdk.batches.retrieve(batch_id)
    done = [line["custom_id"] for line in await read_lines(sdk, batch.output_file_id)]
    errors = {line["custom_id"]: line["error"]["code"] for line in await read_lines(sdk, batch.error_file_id)}
    return batch.status, done, errors


async def test_batches_take_what_was_recorded_in_turn() -> None:
    emulator = Emulator(batch_seconds=Recorded((60, 420, 5000)), wall_clock=lambda: 1000.0)
    assert await _durations(emulator, 4) == [60, 420, 5000, 60]


def test_a_log_normal_distribution_has_the_quantiles_it_was_given() -> None:
    public = LogNormal(median_seconds=420, p90_seconds=3600)
    drawn = [public.draw(number, seed=1) for number in range(1, 2001)]
    shares = [sum(seconds < most for seconds in drawn) / len(drawn) for most in (420, 3600)]
    assert shares == pytest.approx([0.5, 0.9], abs=0.03)


async def test_batches_take_other_times_with_another_seed() -> None:
    async def taken(seed: int, own_seed: int = 0) -> list[int]:
        public = LogNormal(median_seconds=420, p90_seconds=3600, seed=own_seed)
        return await _durations(Emulator(batch_seconds=public, seed=seed, wall_clock=lambda: 1000.0), 3)

    first = await taken(1)
    assert len(set(first)) == 3
    assert first == await taken(1)
    assert first not in (await taken(2), await taken(1, own_seed=1))


async def test_durations_depend_on_the_completion_window() -> None:
    for window, seconds in (("24h", 7200), ("1h", 600)):
        emulator = Emulator(like="doubleword", batch_seconds={"24h": 7200, "1h": 600}, wall_clock=lambda: 1000.0)
        assert await _durations(emulator, 1, completion_window=window) == [seconds]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: LogNormal(median_seconds=10, p90_seconds=5), "median_seconds <= p90_seconds"),
        (lambda: Recorded(()), "at least one duration"),
        (lambda: Recorded((1.0, -1.0)), "none below 0"),
        (lambda: Emulator(like="doubleword", batch_seconds={"24h": 7200}), "lacks a duration for 1h"),
        (lambda: Emulator(cancelling_seconds=-1), "cancelling_seconds must not be negative"),
        (lambda: Emulator(finished_while_cancelling=1.5), "from 0 to 1"),
    ],
)
def test_durations_that_make_no_sense_are_refused(mistake: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mistake()


async def test_a_plan_gives_a_batch_its_own_duration_after_a_wait() -> None:
    fault = BatchFault(nth=(2,), takes=Recorded((100,)), waits_seconds=50)
    assert await _durations(_emulator(fault, batch_seconds=10, wall_clock=lambda: 1000.0), 3) == [10, 150, 10]


async def test_a_plan_can_be_for_one_completion_window() -> None:
    fault = BatchFault(window="1h", first=1, takes=3000)
    emulator = _emulator(fault, like="doubleword", batch_seconds=10)
    with emulator:
        async with open_sdk(emulator) as sdk:
            windows = ("24h", "1h", "1h")
            ids = [(await create_batch(sdk, LINES, completion_window=window)).id for window in windows]
            await anyio.sleep(20)
            statuses = [(await sdk.batches.retrieve(batch_id)).status for batch_id in ids]
            assert statuses == ["completed", "in_progress", "completed"]


async def test_lines_can_all_be_done_at_the_end() -> None:
    with _emulator(BatchFault(at_once=True), batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            for wait, done in ((9.0, 0), (1.0, 10)):
                await anyio.sleep(wait)
                counts = (await sdk.batches.retrieve(batch.id)).request_counts
                assert counts is not None
                assert counts.completed == done
            assert {billed.at - emulator.ledger()[0].at for billed in emulator.ledger()} == {0.0}


@pytest.mark.parametrize("place", ["validating", "in_progress"])
async def test_a_batch_that_never_starts_expires_with_its_window(place: Any) -> None:
    with _emulator(BatchFault(ends="stuck", stuck_in=place), batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(DAY - 1)
            assert (await sdk.batches.retrieve(batch.id)).status == place
            await anyio.sleep(1)
            status, done, errors = await _outcome(sdk, batch.id)
            assert (status, done) == ("expired", [])
            assert errors == {f"r{i}": "batch_expired" for i in range(10)}
            assert emulator.ledger() == ()


async def test_a_batch_whose_validation_outlasts_its_window_expires_unstarted() -> None:
    with Emulator(validating_seconds=2 * DAY, wall_clock=lambda: 1000.0) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(3 * DAY)
            ended = await sdk.batches.retrieve(batch.id)
            assert (ended.status, ended.in_progress_at, ended.expired_at) == ("expired", None, batch.expires_at)


async def test_a_batch_that_never_starts_where_none_expire_is_late_for_ever() -> None:
    with _emulator(BatchFault(ends="stuck", stuck_in="validating"), like="doubleword") as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES, completion_window="1h")
            await anyio.sleep(10 * DAY)
            late = await sdk.batches.retrieve(batch.id)
            assert (late.status, late.expired_at) == ("validating", late.expires_at)


async def test_a_batch_stuck_near_its_end_expires_with_the_rest_undone() -> None:
    with _emulator(BatchFault(ends="stuck", after=0.99), batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(100)])
            await anyio.sleep(DAY)
            status, done, errors = await _outcome(sdk, batch.id)
            assert (status, len(done), errors) == ("expired", 99, {"r99": "batch_expired"})


# Cancellations


async def test_a_cancellation_takes_minutes_in_which_some_lines_are_finished_and_billed() -> None:
    lines = [chat_line(f"r{i}") for i in range(100)]
    with Emulator(batch_seconds=1000, cancelling_seconds=300, finished_while_cancelling=0.5) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, lines)
            await anyio.sleep(200)
            assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
            before = len(emulator.ledger())
            await anyio.sleep(150)
            assert before == 20 < len(emulator.ledger())
            await anyio.sleep(149)
            waiting = await sdk.batches.retrieve(batch.id)
            assert (waiting.status, waiting.output_file_id, waiting.error_file_id) == ("cancelling", None, None)
            await anyio.sleep(1)
            status, done, errors = await _outcome(sdk, batch.id)
            assert status == "cancelled"
            assert 40 < len(done) < 80
            assert set(errors.values()) == {"batch_cancelled"}
            assert sorted([*done, *errors]) == sorted(line["custom_id"] for line in lines)
            assert sorted(billed.custom_id for billed in emulator.ledger()) == sorted(done)


async def test_a_cancellation_takes_as_long_as_the_provider_says_if_asked_to() -> None:
    with Emulator(batch_seconds=1000, cancelling_seconds=None) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await sdk.batches.cancel(batch.id)
            for wait, status in ((599, "cancelling"), (1, "cancelled")):
                await anyio.sleep(wait)
                assert (await sdk.batches.retrieve(batch.id)).status == status


async def test_a_plan_lets_one_cancellation_finish_everything() -> None:
    fault = BatchFault(nth=(1,), cancelling_seconds=60, finished_while_cancelling=1.0)
    with _emulator(fault, batch_seconds=1000, wall_clock=lambda: 1000.0) as emulator:
        async with open_sdk(emulator) as sdk:
            ids = [(await create_batch(sdk, LINES)).id for _ in range(2)]
            for batch_id in ids:
                await sdk.batches.cancel(batch_id)
            await anyio.sleep(100)
            ended = await sdk.batches.retrieve(ids[0])
            assert ended.cancelled_at == (ended.cancelling_at or 0) + 60
            first, second = [await _outcome(sdk, batch_id) for batch_id in ids]
            assert first == ("cancelled", [f"r{i}" for i in range(10)], {})
            assert second == ("cancelled", [], {f"r{i}": "batch_cancelled" for i in range(10)})


async def test_a_plan_keeps_the_undone_lines_of_a_cancelled_batch_out_of_both_files() -> None:
    with _emulator(BatchFault(list_unfinished=False), batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(5)
            await sdk.batches.cancel(batch.id)
            assert await _outcome(sdk, batch.id) == ("cancelled", [f"r{i}" for i in range(5)], {})


async def test_doubleword_names_no_cancelled_lines_in_its_error_file() -> None:
    with Emulator(like="doubleword", batch_seconds=10, shuffle=False) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(5)
            await sdk.batches.cancel(batch.id)
            assert await _outcome(sdk, batch.id) == ("cancelled", [f"r{i}" for i in range(5)], {})


async def test_lines_of_a_stuck_batch_are_not_finished_by_cancelling_it() -> None:
    with _emulator(BatchFault(ends="stuck", after=0.5), finished_while_cancelling=1.0) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await sdk.batches.cancel(batch.id)
            _, done, _ = await _outcome(sdk, batch.id)
            assert done == [f"r{i}" for i in range(5)]


def test_durations_go_through_a_json_plan() -> None:
    text = """{"faults": [
        {"level": "batch", "takes": {"kind": "log_normal", "median_seconds": 420, "p90_seconds": 3600}},
        {"level": "http", "delay_seconds": {"kind": "recorded", "seconds": [1, 2]}}, {"level": "batch", "takes": 5}]}"""
    plan = FaultPlan.from_json(text)
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert isinstance(plan.faults[0], BatchFault)
    assert plan.faults[0].takes == LogNormal(median_seconds=420, p90_seconds=3600)
    with pytest.raises(msgspec.ValidationError, match="p90_seconds"):
        FaultPlan.from_json(text.replace("3600", "36"))
    with pytest.raises(msgspec.ValidationError, match="takes"):
        FaultPlan.from_json(text.replace("5}", "-5}"))
