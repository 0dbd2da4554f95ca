"""`progress=` of the clients: who is shown what, where, and until when."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
from typing import Any

import anyio
import httpx
import pytest
from rich.console import Console

import autobatcher
from autobatcher import BatchTransport, ProgressSnapshot
from autobatcher.display.choice import display_for
from autobatcher.display.displays import Calls, Lines, Notebook, Terminal
from tests.client.test_sync import open_client
from tests.harness import MODEL, Harness, ask, open_harness
from tests.receipts import GIVEN_PRICES

FAST = 0.01
"""Seconds between two snapshots here."""

QUICK: dict[str, Any] = {"batch_window_seconds": 0, "poll_interval_seconds": 0.01}


def threads_of_displays() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "autobatcher progress"]


async def ask_many(client: Any, count: int = 5) -> None:
    async with anyio.create_task_group() as callers:
        for number in range(count):
            callers.start_soon(ask, client, f"call {number}")


async def test_a_function_gets_snapshots_from_the_first_to_the_last_one() -> None:
    taken: list[ProgressSnapshot] = []
    async with open_harness(batch_seconds=100.0) as harness:
        async with harness.client(progress=taken.append) as client:
            await ask_many(client)
        assert [taken[0].requests, taken[0].is_final] == [0, False]
        assert (taken[-1].answered, taken[-1].requests, taken[-1].waiting) == (5, 5, 0)
        assert (taken[-1].submitted_batches, taken[-1].running_batches) == (1, 0)
        assert [each.is_final for each in taken] == [False] * (len(taken) - 1) + [True]
        assert not threads_of_displays()


async def test_calls_that_fail_or_leave_are_counted_as_such() -> None:
    taken: list[ProgressSnapshot] = []
    async with open_harness(batch_seconds=100.0) as harness:
        async with harness.client(progress=taken.append) as client:
            with anyio.move_on_after(50):
                await ask(client, "leaves")
        assert (taken[-1].requests, taken[-1].answered, taken[-1].waiting, taken[-1].withdrawn) == (1, 0, 0, 1)


async def test_the_tokens_and_the_cost_are_those_of_the_receipt() -> None:
    taken: list[ProgressSnapshot] = []
    async with open_harness() as harness:
        async with harness.client(progress=taken.append, prices=GIVEN_PRICES) as client:
            await ask_many(client)
        total = client.receipt().total
        assert total.cost > 0
        assert taken[-1].cost == total.cost
        assert (taken[-1].input_tokens, taken[-1].output_tokens) == (total.tokens.input, total.tokens.output)
        async with harness.client(progress=taken.append) as client:
            await ask_many(client)
        assert taken[-1].cost is None  # nobody knows the price of that model


async def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_harness() as harness, harness.client() as client:
        await ask(client, "hello")
        assert not threads_of_displays()
    assert capsys.readouterr() == ("", "")


async def test_off_a_terminal_a_line_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_harness() as harness:
        async with harness.client(progress=True) as client:
            await ask_many(client)
        told = capsys.readouterr().err
        assert told.startswith("autobatcher: 5 of 5 calls answered, 1 batch, 0 running, ")
        assert told.count("\n") == 1


async def test_the_line_goes_to_the_log_if_somebody_reads_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness() as harness:
        with caplog.at_level(logging.INFO, "autobatcher"):
            async with harness.client(progress=True) as client:
                await ask_many(client)
    assert sum("5 of 5 calls answered" in record.getMessage() for record in caplog.records) == 1
    assert capsys.readouterr().err == ""


async def test_a_terminal_gets_a_picture_whose_last_state_stays() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system=None)
    async with open_harness() as harness:
        async with harness.client(progress=Terminal(console)) as client:
            await ask_many(client)
        assert "0 of 0 calls answered" in file.getvalue()
        assert any("5 of 5 calls answered" in line for line in file.getvalue().splitlines()[-4:])
        told = file.getvalue()
        await anyio.sleep(1_000)
        assert file.getvalue() == told
        assert sys.stdout is not console.file


@pytest.mark.real_time
@pytest.mark.proves("faults", "a display of progress blocks")
async def test_a_display_that_blocks_holds_up_no_call_and_shows_nothing_after_the_end() -> None:
    shown: list[ProgressSnapshot] = []
    stalled, is_released = threading.Event(), threading.Event()

    def stall(snapshot: ProgressSnapshot) -> None:
        stalled.set()
        is_released.wait(20)
        shown.append(snapshot)

    async with open_harness() as harness:
        async with harness.client(progress=Calls(stall, FAST), **QUICK) as client:
            with anyio.fail_after(10):
                await anyio.to_thread.run_sync(stalled.wait)
                await ask_many(client)
        assert shown == []
        is_released.set()
        for thread in threads_of_displays():
            thread.join(10)
        assert len(shown) == 1  # the one that was being shown
        assert not threads_of_displays()


async def test_a_display_that_raises_is_left_alone_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def fail(snapshot: ProgressSnapshot) -> None:
        calls.append(snapshot)
        raise OSError("the terminal is gone")

    async with open_harness() as harness, harness.client(progress=fail) as client:
        await ask_many(client)
    assert len(calls) == 1
    assert [record.getMessage() for record in caplog.records if "progress" in record.getMessage()] == [
        "autobatcher: progress is not shown any more: its display raised an exception"
    ]


def test_a_client_that_is_used_in_two_event_loops_shows_both() -> None:
    file, harness = io.StringIO(), Harness()
    shown = Terminal(Console(file=file, force_terminal=True, width=100, color_system=None))
    client = harness.client(progress=shown, **QUICK)
    asyncio.run(ask_many(client))
    told = file.getvalue()
    asyncio.run(ask_many(client))
    assert "5 of 5" in told
    assert "5 of 5" in file.getvalue().removeprefix(told)
    asyncio.run(client.close())
    harness.emulator.close()


@pytest.mark.real_time
async def test_snapshots_come_while_batches_run() -> None:
    taken: list[ProgressSnapshot] = []
    async with (
        open_harness(batch_seconds=1.0) as harness,
        harness.client(
            progress=Calls(taken.append, FAST), batch_window_seconds=0, poll_interval_seconds=0.05
        ) as client,
    ):
        await ask_many(client)
        assert any(each.running_batches and each.waiting == 5 for each in taken)
        assert any(each.remaining_seconds is not None for each in taken)


async def test_a_transport_of_another_sdk_has_it_too() -> None:
    taken: list[ProgressSnapshot] = []
    async with open_harness() as harness:
        upstream = harness.emulator.http_client(library="httpx")
        transport = BatchTransport(
            http_client=upstream, provider="openai", batch_window_seconds=0, progress=taken.append
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
            body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
            answer = await http.post("/chat/completions", json=body, headers={"authorization": "Bearer k"})
        assert answer.status_code == 200
        assert taken[-1].answered == 1


@pytest.mark.real_time
def test_the_sync_client_has_it_too() -> None:
    taken: list[ProgressSnapshot] = []
    with open_client(progress=taken.append) as (_, client):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert taken[-1].answered == 1
    assert not threads_of_displays()


def test_a_wrong_value_is_refused_at_construction() -> None:
    async def later(snapshot: ProgressSnapshot) -> None: ...

    for wrong in (1, "yes", later):
        with pytest.raises(TypeError, match="progress must be True, False or a plain function"):
            autobatcher.BatchOpenAI(api_key="k", progress=wrong)  # type: ignore[arg-type]


def test_without_rich_the_extra_is_named_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.display.choice.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'autobatcher\[progress\]>=1'"):
        autobatcher.BatchOpenAI(api_key="k", progress=True)
    assert isinstance(display_for(print), Calls)


def test_a_notebook_and_a_terminal_are_known_and_all_else_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**console: Any) -> type:
        monkeypatch.setattr("rich.console.Console", lambda stderr: Console(**console))
        return type(display_for(True))

    monkeypatch.delenv("TERM", raising=False)
    assert chosen(force_jupyter=True) is Notebook
    assert chosen(force_terminal=True) is Terminal
    assert chosen(force_terminal=False) is Lines
    monkeypatch.setenv("TERM", "dumb")
    assert chosen(force_terminal=True) is Lines
