"""`autobatcher demo` as a process: off a terminal, on one, against a real socket, interrupted."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess

import openai
import pytest

from .processes import COMMAND, environment, find_url, read_until, run, started

pytestmark = pytest.mark.real_time

QUICK = ("--requests", "50", "--batch-seconds", "0.5")


def rows(table: str) -> dict[str, str]:
    """The table's values by their names."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in table.strip().splitlines())


def test_off_a_terminal_it_prints_plain_lines_and_a_table_with_the_right_totals() -> None:
    told = run("demo", *QUICK, "--input-price", "1000000", "--output-price", "0", "--batch-discount", "75")
    assert told.returncode == 0, told.stderr
    assert (told.stdout + told.stderr).isascii()
    assert "\x1b" not in told.stdout + told.stderr
    assert not [line for line in (told.stdout + told.stderr).splitlines() if line != line.rstrip()]

    table = rows(told.stdout)
    assert (table["requests"], table["answered"], table["failed"]) == ("50", "50", "0")
    submitted = re.findall(r"batch (\d+): submitted, (\d+) requests?", told.stderr)
    assert len(submitted) == int(table["batches"]) > 1
    assert sum(int(requests) for _, requests in submitted) == 50
    assert len(re.findall(r"batch \d+: completed after", told.stderr)) == len(submitted)

    tokens = int(table["tokens in"].replace(",", ""))
    assert tokens > 50
    assert int(table["tokens out"].replace(",", "")) > 0
    assert table["cost singly"] == f"${tokens:,.2f}"
    assert table["cost as batches"] == f"${tokens / 4:,.2f}"
    assert table["at example prices"].startswith("$1000000.00 per million tokens in, $0.00 out")


def test_failed_calls_are_counted_and_make_exit_code_1() -> None:
    told = run("demo", *QUICK, "--like", "openai", "--embedding-model", "fail-400")
    assert told.returncode == 1
    table = rows(told.stdout)
    assert (table["requests"], table["answered"], table["failed"]) == ("50", "35", "15")
    assert "15 failed with BadRequestError" in told.stderr


def test_on_a_terminal_it_shows_live_progress() -> None:
    written, code = run_on_terminal("demo", *QUICK)
    assert code == 0
    told = [int(count) for count in re.findall(r"(\d+) of 50 calls answered", strip_colours(written))]
    assert told[0] == 0
    assert told[-1] == 50
    assert told == sorted(told)
    assert len(set(told)) > 5
    assert "\x1b[1A" in written  # it paints over itself
    assert re.search(r"batch 2 +\S+ +10/10 +completed", strip_colours(written))
    assert "tokens out" in written
    assert "submitted, " not in written


def run_on_terminal(*arguments: str) -> tuple[str, int]:
    """All that a command writes to a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:
            pass  # how Linux tells that the other end was closed
        finally:
            os.close(ours)
        return written.decode(), process.wait(timeout=20)


def strip_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_against_a_real_provider_it_warns_first_and_makes_fewer_calls() -> None:
    with started("emulate", "--api-key", "sk-secret") as upstream:
        url = find_url(read_until(upstream, "stdout", "OPENAI_API_KEY"))
        told = run(
            "demo",
            *("--base-url", url, "--model", "m", "--poll-interval", "0.1", "--batch-window", "0.1"),
            OPENAI_API_KEY="sk-secret",
        )
    assert told.returncode == 0, told.stderr
    warning = told.stderr.splitlines()[0]
    assert "20 real requests (14 chat, 6 response) to 127.0.0.1" in warning
    assert "costs real money" in warning
    assert rows(told.stdout)["answered"] == "20"
    assert "sk-secret" not in told.stdout + told.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted_it_cancels_upstream_what_is_running(number: signal.Signals) -> None:
    with started("emulate", "--batch-seconds", "600") as upstream:
        url = find_url(read_until(upstream, "stdout", "OPENAI_API_KEY"))
        arguments = ("--base-url", url, "--api-key", "k", "--model", "m", "--batch-window", "1")
        with started("demo", *arguments) as process:
            read_until(process, "stderr", "batch 2: submitted")
            process.send_signal(number)
            out, error = process.communicate(timeout=20)
        assert (process.returncode, out) == (128 + number, "")
        told = re.search(r"Interrupted: 0 of 20 calls answered, (\d+) batches cancelled upstream.", error)
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as sdk:
            statuses = [batch.status for batch in sdk.batches.list()]
        assert set(statuses) == {"cancelled"}
        assert told is not None
        assert int(told[1]) == len(statuses) >= 2  # more on a busy machine


def test_variables_meant_for_other_commands_do_not_make_the_demo_cost_money() -> None:
    told = run("demo", "--requests", "5", "--batch-seconds", "0", AUTOBATCHER_BASE_URL="http://127.0.0.1:9/v1",
               OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_API_KEY="k", AUTOBATCHER_BATCH_SIZE="x")  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert rows(told.stdout)["upstream"] == "emulated in this process, like doubleword"
