"""Progress in the last row of a terminal that a command writes to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from autobatcher.cli.run_progress import progress_beside_command
from autobatcher.display.displays import Lines
from autobatcher.display.snapshot import ProgressSnapshot, snapshot_of
from autobatcher.display.status_row import StatusRow
from autobatcher.progress import Progress
from tests.cli.processes import emulator, run_here
from tests.cli.test_run import ASK_CHEAPLY, flags

TERMINAL = {"TERM": "xterm"}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")


def snapshot(requests: int = 3, *, is_final: bool = False) -> ProgressSnapshot:
    return snapshot_of(Progress(requests), queued=0, is_final=is_final)


@contextmanager
def terminal(columns: int = 40, rows: int = 12) -> Iterator[tuple[Any, int]]:
    """A terminal, and the file descriptor from which what is painted can be read."""
    import fcntl
    import struct
    import termios

    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.set_blocking(reader, False)
    with open(writer, "w", encoding="utf-8") as stream:
        yield stream, reader
    os.close(reader)


def painted(reader: int) -> str:
    """All that was written; one read of a terminal gives 4 KB at most."""
    shown = b""
    with suppress(BlockingIOError):
        while more := os.read(reader, 10_000):
            shown += more
    return shown.decode()


def test_the_last_row_is_kept_out_of_what_scrolls_painted_and_given_back() -> None:
    with terminal() as (stream, reader):
        row = progress_beside_command(None, stream, TERMINAL)
        assert isinstance(row, StatusRow)
        row(snapshot(0))
        assert painted(reader) == ""  # no call came yet: the terminal is the command's alone
        row(snapshot())
        first = painted(reader)
        assert "\x1b[1;11r" in first
        assert "\x1b[12;1H\x1b[2K\x1b[2m0 of 3 calls answered, 0 batches, 0 ru…\x1b[0m\x1b8" in first
        row(snapshot())
        assert "r\x1b8" not in painted(reader)  # the region stays
        row(snapshot(is_final=True))
        row.close()
        assert painted(reader) == "\x1b7\x1b[r\x1b[12;1H\x1b[2K\x1b8"


def test_nothing_is_painted_while_a_program_has_the_terminal_for_itself() -> None:
    import termios
    import tty

    with terminal() as (stream, reader):
        row = StatusRow(stream)
        row(snapshot())
        assert painted(reader)
        before = termios.tcgetattr(stream.fileno())
        tty.setraw(stream.fileno())
        row(snapshot())
        assert painted(reader) == ""
        termios.tcsetattr(stream.fileno(), termios.TCSANOW, before)
        row(snapshot())
        assert "\x1b[1;11r" in painted(reader)  # that program may have changed the region


def test_without_a_terminal_or_in_a_small_or_simple_one_no_row_is_taken() -> None:
    with terminal(rows=4) as (stream, reader):
        StatusRow(stream)(snapshot())
        assert painted(reader) == ""
        assert isinstance(progress_beside_command(None, stream, {"TERM": "dumb"}), Lines)
        assert progress_beside_command(False, stream, TERMINAL) is False
    assert isinstance(progress_beside_command(None, None, TERMINAL), Lines)


def test_a_line_at_the_end_is_told_to_those_who_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for wanted, told in ((None, 1), (True, 2)):
        lines = progress_beside_command(wanted, io.StringIO(), TERMINAL)
        assert isinstance(lines, Lines)
        assert lines.seconds == 30.0
        lines(snapshot())
        lines(snapshot(is_final=True))
        assert capsys.readouterr().err.count("autobatcher run: 0 of 3 calls answered") == told


@pytest.mark.real_time
def test_run_shows_its_progress_on_a_terminal_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(columns=100) as (stream, reader), emulator("--batch-seconds", "1.5") as upstream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert run_here(*flags(upstream), "--", sys.executable, "-c", ASK_CHEAPLY) == 3
        shown = painted(reader)
    row, _, rest = shown.partition("0 of 1 calls answered, 1 batch, 1 running")
    assert "\x1b[1;11r" in row
    assert "\x1b[r" in rest
    assert rest.rpartition("\x1b")[2].count("autobatcher run: ") >= 5, "the summary comes after the row is given back"
