"""Ctrl-C and SIGTERM for commands that run until they are told to stop, on the real clock and with real signals."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from autobatcher.cli import main
from autobatcher.cli.output import PrintableConsole
from autobatcher.cli.signals import run_until_interrupted, run_until_signalled
from tests.cli.processes import default_signals

pytestmark = pytest.mark.real_time


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    with default_signals():
        yield


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_is_told(number: signal.Signals) -> None:
    ended = []

    async def work(stop: trio.Event) -> None:
        signal.raise_signal(number)
        with trio.fail_after(10):
            await stop.wait()
        await trio.sleep(0.01)  # not cancelled
        ended.append("by itself")

    assert trio.run(run_until_signalled, work) is number
    assert ended == ["by itself"]


def test_a_table_whose_reader_is_gone_ends_the_command_as_a_line_does() -> None:
    """Rich raises `SystemExit` for it, of which a nursery makes a group, and thus a traceback."""

    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    async def work() -> int:
        PrintableConsole(file=Gone()).print("upstream")
        return 0

    with pytest.raises(BrokenPipeError):
        run_until_interrupted(work)


def test_the_second_signal_cancels() -> None:
    async def work(stop: trio.Event) -> None:
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        signal.raise_signal(signal.SIGINT)
        with trio.fail_after(10):
            await trio.sleep_forever()

    assert trio.run(run_until_signalled, work) is signal.SIGTERM


def test_an_interrupt_just_before_a_command_takes_signals_ends_it_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = trio.open_signal_receiver

    @trio.lowlevel.enable_ki_protection  # as trio is: it raises KeyboardInterrupt later, in the command
    def take_late(*numbers: signal.Signals) -> Any:
        signal.raise_signal(signal.SIGINT)
        return take(*numbers)

    monkeypatch.setattr(trio, "open_signal_receiver", take_late)
    (tmp_path / "in").write_text('{"input": "a", "model": "m"}')
    upstream = ["--base-url", "http://127.0.0.1:9/v1", "--api-key", "key"]
    files = [str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--endpoint", "/v1/embeddings"]
    assert main(["batch", *files, *upstream]) == 130


def test_a_hangup_that_is_ignored_as_under_nohup_stays_ignored() -> None:
    async def work(stop: trio.Event) -> None:
        signal.raise_signal(signal.SIGHUP)
        await trio.sleep(0.05)
        assert not stop.is_set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert trio.run(run_until_signalled, work) is None


def test_without_a_signal_there_is_none_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work(stop: trio.Event) -> None:
        await trio.lowlevel.checkpoint()

    assert trio.run(run_until_signalled, work) is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_failure_comes_out_as_it_is() -> None:
    async def work(stop: trio.Event) -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        trio.run(run_until_signalled, work)
