"""What is appended to an output is appended as a whole, whoever is killed meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autobatcher import Answer
from autobatcher.files.append import PAGE_BYTES, _pieces
from autobatcher.files.known_ids import KnownIds
from autobatcher.files.output_file import OutputError, OutputFile
from autobatcher.files.output_lines import answer_line
from tests.cli.processes import environment

LINES = b"".join(answer_line(f"{number}", Answer(200, b"{}", None, "b", f"k-{number}")) for number in range(3))

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from autobatcher import Answer
from autobatcher.files.known_ids import KnownIds
from autobatcher.files.output_file import OutputFile
from autobatcher.files.output_lines import answer_line

def write_for_ever(path, turn):
    os.setsid()
    body = b'{"text": "%b"}' % (b"x" * 700)
    with OutputFile(str(path)) as output:
        output.open(KnownIds(), ())
        for block in range(1_000_000):
            ids = (f"{turn} {block} {number}" for number in range(500))
            output.write(b"".join(answer_line(each, Answer(200, body, None, "b", each)) for each in ids))

path, dice = Path(sys.argv[1]), random.Random(19)
for turn in range(10):
    pid = os.fork()
    if not pid:
        write_for_ever(path, turn)
    before = path.stat().st_size if turn else 0
    while not path.exists() or path.stat().st_size <= before:
        time.sleep(0.001)
    time.sleep(dice.uniform(0, 0.01))
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with path.open("rb") as file:
        lines = file.readlines()
    assert all(line.startswith(b'{"id"') and line.endswith(b'"error":null}\\n') for line in lines), turn
    with OutputFile(str(path)) as output:
        known = KnownIds()
        output.open(known, ())
        size = path.stat().st_size
        assert len(known) == sum(1 for _ in path.open("rb")), turn
        time.sleep(0.005)
        assert path.stat().st_size == size, turn
"""


@pytest.mark.proves("faults", "`autobatcher batch` is killed while it writes to its output")
@pytest.mark.real_time
def test_a_killed_process_group_leaves_complete_lines_and_its_last_ones_are_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", [0, 1, 4000, 4095, 12_345])
def test_each_write_ends_with_a_line_and_lies_on_one_page_unless_its_line_does_not(place: int) -> None:
    block = b"".join(b"x" * size + b"\n" for size in (0, 5, 400, 400, 4094, 4095, 4096, 0, 9000, 3000, 1000, 7))
    pieces = list(_pieces(block, place))
    assert b"".join(pieces) == block
    for piece in pieces:
        assert piece.endswith(b"\n")
        assert piece.count(b"\n") == 1 or place // PAGE_BYTES == (place + len(piece) - 1) // PAGE_BYTES
        place += len(piece)


def test_a_write_that_fails_leaves_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "out"
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with OutputFile(str(path)) as output:
        output.open(KnownIds(), ())
        output.write(LINES)
        output.close()
        output.open(KnownIds(), ())
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINES) + 20, most))
        try:
            with pytest.raises(OutputError, match=f"cannot write {path}: File too large"):
                output.write(LINES)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == LINES


DIES = """
import os, signal, sys
os.write(1, sys.stdin.buffer.read(20))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_of_the_appender_is_told_and_its_half_line_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, program = tmp_path / "out", tmp_path / "dies.py"
    path.write_bytes(LINES)
    program.write_text(DIES)
    monkeypatch.setattr("autobatcher.files.appender._PROGRAM", program)
    with OutputFile(str(path)) as output:
        output.open(KnownIds(), ())
        with pytest.raises(OutputError, match="was ended; run the same command again"):
            output.write(LINES)
        assert path.read_bytes() == LINES


def test_a_signal_that_ends_all_processes_of_a_service_does_not_end_the_appender(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(str(path)) as output:
        output.open(KnownIds(), ())
        output.write(LINES)
        assert output._appender is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(output._appender._process.pid, number)
        output.write(LINES)
    assert path.read_bytes() == LINES + LINES


def test_an_output_that_another_run_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.files.output_file.LOCK_SECONDS", 0.1)
    first, second = (OutputFile(str(tmp_path / "out")) for _ in range(2))
    with first, second:
        first.open(KnownIds(), ())
        with pytest.raises(OutputError, match="is being written by another run"):
            second.open(KnownIds(), ())
        first.close()
        second.open(KnownIds(), ())
