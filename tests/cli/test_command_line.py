"""What all commands have in common: help, version, wrong values, missing packages, exit codes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import autobatcher
from autobatcher.cli import REQUIRED, find_missing, main
from autobatcher.cli.demo import demo
from autobatcher.cli.emulate import emulate
from autobatcher.client.arguments import ClientArguments
from autobatcher.engine.setting import descriptions

from .processes import environment, run

pytestmark = pytest.mark.real_time

COMMANDS = (
    "batch",
    "cancel",
    "check",
    "demo",
    "emulate",
    "forget",
    "plan",
    "prices",
    "receipt",
    "reconcile",
    "results",
    "run",
    "serve",
    "status",
    "watch",
)

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
sys.argv[1:] = {arguments!r}
from autobatcher.cli import main
sys.exit(main())
"""


def test_help_lists_the_commands_and_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "emulate" in told.stdout
    assert "demo" in told.stdout
    assert told.stdout.isascii()  # no boxes
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == autobatcher.__version__


def test_the_console_script_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="autobatcher")
    assert script.load() is main


@pytest.mark.parametrize("command", [demo, emulate])
def test_the_help_of_a_command_explains_every_flag_and_has_examples(
    command: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # one line a flag
    name = command.__name__
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for parameter in inspect.signature(command).parameters:
        flag = "--" + parameter.replace("_", "-")
        explained = [line for line in lines if line.lstrip().startswith(flag + " ")]
        assert len(explained) == 1, flag
        assert len(explained[0].split()) >= 6, explained
    assert sum(f"autobatcher {name}" in line for line in lines) >= 3
    assert all(len(line) <= 80 for line in lines if line.startswith("     autobatcher"))


def told_by_help(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*command.split(), "--help"]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def flags_in(lines: list[str]) -> list[str]:
    """Each flag, in the order of the help."""
    begin = next(number for number, line in enumerate(lines) if re.match(r"   [A-Z]", line))
    end = next((number for number, line in enumerate(lines) if line.strip() == "Examples"), len(lines))
    shown = (re.match(r" (--\S+)( |$)", line) for line in lines[begin:end])
    return [found[1] for found in shown if found]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_cuts_no_flag_in_two_and_shows_many_flags_in_groups(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = told_by_help(command, 300, capsys, monkeypatch)
    examples = whole[whole.index("Examples") :] if command else []
    assert all(len(line) <= 80 for line in examples), "an example must not be broken by a terminal"
    for columns in (80, 60):
        lines = told_by_help(command, columns, capsys, monkeypatch)
        assert max(map(len, lines)) <= columns
        assert flags_in(lines) == flags_in(whole)
        assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)
    titles = [line.strip() for line in whole if re.match(r"   [A-Z]", line)]
    assert "Others" not in titles, "give each flag a group in cli/flag_groups.py"
    assert len(flags_in(whole)) <= 8 or (len(titles) > 2 and "Parameters" not in titles)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--batch-window DURATION", "[default: 10s]"),
        ("--journal-retention DURATION", "[default: 7d]"),
        ("--max-queued-bytes SIZE", "[default: 1GB]"),
        ("--max-body-bytes SIZE", "[default: 64MB]"),
        ("--heartbeat DURATION", "[default: 50s]"),
        ("--keep-active-batches-on-close ", "cancelled upstream"),
        ("--deadline DURATION", "such as 45m"),
        ("--lanes LANE,...", "batch, flex, realtime"),
        ("--max-cost USD", "such as 20 or 20/day"),
    ],
)
def test_help_shows_units_and_defaults(
    flag: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["serve", "--help"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f" {flag}")]
    assert told in line


@pytest.mark.parametrize("command", ["serve", "run"])
def test_every_setting_with_a_flag_is_a_flag(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    flags = [each.flag for each in descriptions(ClientArguments) if each.flag is not None]
    assert {"batch-size", "batch-window", "keep-input-files", "base-url"} <= set(flags)
    for flag in flags:
        assert sum(line.startswith(f" --{flag} ") for line in lines) == 1, flag


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--requests", "0"], "--requests"),
        (["demo", "--requests", "many"], "--requests"),
        (["demo", "--batch-seconds", "inf"], "--batch-seconds"),
        (["demo", "--batch-discount", "101"], "--batch-discount"),
        (["demo", "--api-key", "sk-secret"], "--api-key needs --base-url"),
        (["demo", "--base-url", "api.openai.com", "--model", "m"], "--base-url"),
        (["demo", "--base-url", "https://x.test/v1", "--model", "m"], "OPENAI_API_KEY"),
        (["demo", "--base-url", "https://x.test/v1", "--api-key", "sk-secret"], "--model is missing"),
        (["demo", "--base-url", "https://x.test/v1", "--like", "openai"], "--like is for the emulator"),
        (
            ["demo", "--base-url", "https://x.test/v1", "--api-key", "k", "--model", "m", "--provider", "x"],
            "--provider must be one of openai, doubleword",
        ),
        (
            ["demo", "--base-url", "https://x.test/v1", "--api-key", "k", "--model", "m", "--provider", "/x/none.toml"],
            "--provider: /x/none.toml cannot be read: No such file",
        ),
        (["emulate", "--port", "65536"], "--port"),
        (["emulate", "--like", "acme"], '"doubleword"'),
        (["emulate", "--batch-seconds", "-1"], "--batch-seconds"),
        (["emulate", "--forward-key", "sk-secret"], "--forward-key needs --forward-to"),
        (["emulate", "--forward-to", "http://"], "--forward-to"),
        (["emulate", "--faults", "/does/not/exist"], "/does/not/exist: No such file"),
        (["emulate", "--prt", "8000"], "Did you mean --port"),
        (["emulate", "--batch-seconds", "5parsecs"], '"5parsecs" is no duration: write 10s, 30m, 1.5h or 7d.'),
        (
            ["serve", "--api-key", "sk-secret", "--completion-window", "5parsecs"],
            '--completion-window. Must be a duration such as "24h", "1h" or "7d", or "background"; not',
        ),
        (["run", "--api-key", "sk-secret", "--poll-interval", "0", "--", "true"], "--poll-interval"),
        (["serve", "--api-key", "sk-secret", "--max-queued-bytes", "0"], "--max-queued-bytes"),
        (["serve", "--api-key", "sk-secret", "--max-body-bytes", "64XB"], '"64XB" is no size: write 500kB, 64MB or'),
        (["serve", "--api-key", "sk-secret", "--batch-metadata", "a"], "--batch-metadata: expected KEY=VALUE"),
        (["serve", "--api-key", "sk-secret", "--deadline", "soon"], "--deadline"),
        (["serve", "--api-key", "sk-secret", "--deadline", "-5s"], "a minus is written --deadline=-5s"),
        (["serve", "--api-key", "sk-secret", "--deadline=-5s"], '"-5s" is no duration: write 10s, 30m, 1.5h or 7d.'),
        (["serve", "--api-key", "sk-secret", "--lanes", "flex,batch"], "--lanes"),
        (["run", "--api-key", "sk-secret", "--max-cost", "5/fortnight", "--", "true"], "one of hour, day, week, month"),
        (["serve", "--api-key", "sk-secret", "--max-cost-per-key", "5"], "--max-cost-per-key needs --forward-keys"),
        (["serve", "--forward-keys", "--max-cost-per-key", "much"], "Must be dollars"),
        (["emulat"], "emulate"),
        (["versio"], 'Unknown command "versio". Did you mean version?'),
        (["--hlep"], "Unknown option: --hlep. Did you mean --help?"),
        (["batch", "in.jsonl", "--outptu", "x"], "Unknown option: --outptu. Did you mean --output?"),
        (["batch", "--bach-size", "3", "in.jsonl", "-o", "x"], "autobatcher batch: Unknown option: --bach-size."),
        (["plan", "--prics=prices.toml"], "autobatcher plan: Unknown option: --prics."),
        (["run", "--bach-size", "3", "--", "true"], "autobatcher run: Unknown option: --bach-size."),
        (["batch", "nofile.jsonl", "-o", "x"], "cannot read nofile.jsonl: No such file"),
        (["batch", "in.jsonl"], "--output is missing, e.g. -o answers.jsonl."),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.isascii()
    assert said in error
    assert "sk-secret" not in error


def test_a_process_that_was_called_wrongly_exits_with_2() -> None:
    told = run("emulate", "--port", "x")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines() == [told.stderr.rstrip("\n")]
    assert "autobatcher emulate --help" in told.stderr


def test_flags_are_read_from_the_environment_and_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOBATCHER_PORT", "nonsense")
    assert main(["emulate"]) == 2
    assert "AUTOBATCHER_PORT" in capsys.readouterr().err


def test_a_file_that_is_no_fault_plan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"not json", b'{"faults": [{"level": "http", "sttus": 503}]}', b"\xff"):
        (tmp_path / "faults.json").write_bytes(content)
        assert main(["emulate", "--faults", str(tmp_path / "faults.json")]) == 2
        error = capsys.readouterr().err
        assert "is not a fault plan" in error
        assert error.count("\n") == 1


def test_a_file_that_is_no_price_list_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prices.json").write_text('{"prices": [{"input": -1, "output": 1}]}')
    assert main(["emulate", "--bill-prices", str(tmp_path / "prices.json")]) == 2
    assert "is not a price list: a price must be a number from 0 on: -1" in capsys.readouterr().err


def without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=REQUIRED, arguments=list(arguments))],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_missing_extra_says_what_to_install() -> None:
    told = without_extras("demo")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1
    assert "pip install 'autobatcher[serve]>=1'" in told.stderr
    for name in REQUIRED:
        assert name.replace("_", "-") in told.stderr


def test_help_works_without_extras_and_says_what_to_install() -> None:
    told = without_extras("help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "pip install 'autobatcher[serve]>=1'" in told.stdout


@pytest.mark.parametrize("spelling", ["--version", "-V", "version"])
def test_the_version_needs_no_extras(
    spelling: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autobatcher.cli.REQUIRED", ("no_such_package_of_anybody",))
    assert main([spelling]) == 0
    assert capsys.readouterr().out == f"{autobatcher.__version__}\n"


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "emulate"]) == 0
    explained = capsys.readouterr().out
    assert "--batch-seconds" in explained
    assert main(["emulate", "--help"]) == 0
    assert capsys.readouterr().out == explained


def test_shell_completion_can_be_installed(tmp_path: Path) -> None:
    told = run("--install-completion", "--shell", "bash", "--output", str(tmp_path / "completion"), HOME=str(tmp_path))
    assert told.returncode == 0, told.stderr
    assert "emulate" in (tmp_path / "completion").read_text()


def test_only_missing_packages_are_named() -> None:
    assert find_missing(["json", "no_such_package_of_anybody", "trio"]) == ["no_such_package_of_anybody"]
