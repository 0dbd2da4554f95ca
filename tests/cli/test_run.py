"""`autobatcher run -- COMMAND` as a process, as CI uses it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.processes import COMMAND, emulator, environment, read_until, run, run_here, started
from tests.cli.test_serve import END_SECONDS, QUICK, statuses

ASK = (
    "import openai, sys\n"
    "client = openai.OpenAI(max_retries=0)\n"
    "completion = client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': sys.argv[1]}])\n"
    "print(completion.choices[0].message.content)\n"
)


def flags(upstream: str) -> tuple[str, ...]:
    return ("run", "--base-url", upstream, "--api-key", "sk-secret", *QUICK)


def test_a_command_gets_batch_prices_and_its_output_is_its_own(tmp_path: Path) -> None:
    record = tmp_path / "events.jsonl"
    with emulator() as upstream:
        watched = (*flags(upstream), "--events", str(record), "--progress")
        done = run(*watched, "--", sys.executable, "-c", ASK, "hello there")
    assert done.returncode == 0, done.stderr
    assert "hello there" in done.stdout
    assert "1 answered" in done.stderr
    assert "autobatcher run: 1 of 1 calls answered, 1 batch, 0 running, " in done.stderr
    names = [json.loads(line)["event"] for line in record.read_text().splitlines()]
    assert names[0] == "batch_submitted"
    assert "sk-secret" not in done.stdout + done.stderr + record.read_text()


@pytest.mark.parametrize(
    ("script", "code"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("pass", 0)],
)
def test_the_commands_exit_code_is_ours(script: str, code: int) -> None:
    assert run_here("run", "--api-key", "k", "--no-check", "--", sys.executable, "-c", script) == code


def test_a_command_that_cannot_be_started_is_told_as_a_shell_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here("run", "--api-key", "k", "--no-check", "--", "no-such-command-anywhere") == 127
    told = capsys.readouterr().err.splitlines()
    assert "no-such-command-anywhere" in told[-1]
    assert not [line for line in told if "requests" in line]  # no summary of what never ran
    plain_file = tmp_path / "plain"
    plain_file.write_text("")
    assert run_here("run", "--api-key", "k", "--no-check", "--", str(plain_file)) == 126


def test_a_missing_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here("run", "--api-key", "k") == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_request_log_that_cannot_be_written_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, said in (
        ("-", "name of a file"),
        (str(tmp_path), "Is a directory"),
        (str(tmp_path / "a" / "b"), "No such"),
    ):
        assert run_here("run", "--api-key", "k", f"--request-log={place}", "--", "cat") == 2
        assert said in capsys.readouterr().err


def test_the_commands_stdin_is_its_own() -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--api-key", "k", "--no-check", "--", "cat"],
        input="to be echoed",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.stdout == "to be echoed"


def test_only_the_one_time_key_is_accepted_and_no_page_in_a_browser(capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import os, httpx\n"
        "url = os.environ['OPENAI_BASE_URL']\n"
        "assert os.environ['OPENAI_API_KEY'] != 'sk-secret'\n"
        "print(httpx.get(url + '/models').status_code)\n"
        "right = {'authorization': 'Bearer ' + os.environ['OPENAI_API_KEY'], 'host': 'evil.example'}\n"
        "print(httpx.get(url + '/models', headers=right).status_code)\n"
    )
    with emulator() as upstream:
        assert run_here(*flags(upstream), "--", sys.executable, "-c", script) == 0
        assert capfd.readouterr().out.split() == ["401", "403"]


def test_a_command_that_does_not_come_to_the_proxy_is_asked_why(capfd: pytest.CaptureFixture[str]) -> None:
    with_another_key = ASK_CHEAPLY.replace('os.environ["OPENAI_API_KEY"]', '"sk-another-key"')
    models = ASK_CHEAPLY.replace("/chat/completions", "/models").replace("json.dumps(body).encode()", "None")
    with emulator() as upstream:
        for child, code, said in (
            ("pass", 0, "no request came: does the command read OPENAI_BASE_URL?"),
            (with_another_key, 1, "all requests came with another key: does the command read OPENAI_API_KEY?"),
            (models, 3, "requests came, but none that can be batched."),
        ):
            assert run_here(*flags(upstream), "--", sys.executable, "-c", child) == code
            assert f"autobatcher run: {said}\n" in capfd.readouterr().err


def test_what_the_command_leaves_behind_is_cancelled() -> None:
    script = (
        "import os, httpx, time\n"
        "try:\n"
        "    httpx.post(os.environ['OPENAI_BASE_URL'] + '/chat/completions', timeout=1.5, json={'model': 'm'},\n"
        "               headers={'authorization': 'Bearer ' + os.environ['OPENAI_API_KEY']})\n"
        "except httpx.TimeoutException:\n"
        "    pass\n"
    )
    with emulator("--batch-seconds", "100") as upstream:
        assert run_here(*flags(upstream), "--", sys.executable, "-c", script) == 0
        assert statuses(upstream) in (["cancelled"], ["cancelling"])


@pytest.mark.parametrize(
    ("number", "stubborn"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
)
def test_ci_that_kills_the_job_leaves_nothing_running(number: signal.Signals, stubborn: bool) -> None:
    """A stubborn command ignores the signal; its batches end after a grace all the same."""
    ignore = f"import signal; signal.signal({int(number)}, signal.SIG_IGN)\n" if stubborn else ""
    with (
        emulator("--batch-seconds", "100") as upstream,
        started(*flags(upstream), "--events", "/dev/stderr", "--", sys.executable, "-c", ignore + ASK, "x") as process,
    ):
        read_until(process, "stderr", "batch_submitted")
        process.send_signal(number)
        code = process.wait(END_SECONDS)
        assert statuses(upstream) in (["cancelled"], ["cancelling"])
        # A stubborn one meets the 503 that its request is answered with.
        assert code == (1 if stubborn else 128 + number)


def test_a_signal_while_the_proxy_starts_is_not_lost() -> None:
    with emulator() as upstream:
        for delay in (0.7, 1.0, 1.3):
            with started(*flags(upstream), "--", "sleep", "30") as process:
                time.sleep(delay)
                process.terminate()
                assert process.wait(END_SECONDS) in (128 + signal.SIGTERM, -signal.SIGTERM)


ASK_CHEAPLY = """
import json, os, sys, urllib.request
body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).read()
sys.exit(3)
"""
PRICES = """[m]\ninput = 2000\noutput = 4000\nbatch = {input = 1000, output = 2000}\n"""


def test_what_was_paid_is_in_the_summary_and_in_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prices, told, table, summary = (tmp_path / name for name in ("p.toml", "r.json", "r.md", "summary"))
    prices.write_text(PRICES)
    summary.write_text("what another step said")
    totals = tmp_path / "totals.json"
    child = ("--", sys.executable, "-c", ASK_CHEAPLY)
    with emulator() as upstream:
        command = (*flags(upstream), "--prices", str(prices), "--receipt")
        log = tmp_path / "calls.jsonl"
        told_too = ("--summary-json", str(totals), "--request-log", str(log))
        assert run_here(*command, str(told), *told_too, *child) == 3
        receipt = json.loads(told.read_text())
        (row,) = receipt["rows"]
        cost = row["tokens"]["input"] * Decimal("0.001") + row["tokens"]["output"] * Decimal("0.002")
        assert cost > 0
        (logged,) = [json.loads(line) for line in log.read_text().splitlines()]
        assert (logged["status"], Decimal(logged["cost"])) == (200, cost)
        assert [Decimal(receipt[name]) for name in ("cost", "list_price", "saving")] == [cost, 2 * cost, cost]
        whole = capfd.readouterr().err
        assert f"cost      ${cost:.4f} for 1 request instead of ${2 * cost:.4f}" in whole
        of_all = json.loads(totals.read_text())
        assert [Decimal(of_all[name]) for name in ("cost", "list_price", "saving")] == [cost, 2 * cost, cost]
        assert [of_all[name] for name in ("exit_code", "requests", "answered", "batches_submitted")] == [3, 1, 1, 1]
        assert [batch["id"] for batch in of_all["batches"]] == row["batch_ids"]
        assert f"batch ids {row['batch_ids'][0]}\n" in whole
        assert "calls answered" not in whole  # a line of progress comes every 30 s

        assert run_here(*command, str(table), *child, GITHUB_STEP_SUMMARY=str(summary)) == 3
        assert summary.read_text() == f"what another step said\n{table.read_text()}"
        assert "| m | /v1/chat/completions | batch 24h | 1 |" in table.read_text()

        capfd.readouterr()
        nowhere = str(tmp_path / "absent" / "r.json")
        assert run_here(*command, nowhere, *child, GITHUB_STEP_SUMMARY=str(tmp_path)) == 3
        said = [line for line in capfd.readouterr().err.splitlines() if "cannot be written" in line]
        assert [nowhere in said[0], str(tmp_path) in said[1]] == [True, True]
