"""Where flags come from when the command line does not give them: the environment, and the file of --config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autobatcher.cli import main

from .processes import run_here

pytestmark = pytest.mark.real_time

ECHO = ("--", "true")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")


def run(*flags: str, **variables: str) -> int:
    return run_here("run", "--no-check", *flags, *ECHO, OPENAI_API_KEY="k", **variables)


def last_event(config: Path, *flags: str, **variables: str) -> dict[str, object]:
    """What `run` with that file told at its end. Its flags can be seen in it."""
    record = config.with_suffix(".jsonl")
    assert run("--config", str(config), "--events", str(record), *flags, **variables) == 0
    event: dict[str, object] = json.loads(record.read_text().splitlines()[-1])
    return event


def test_a_key_applies_to_every_command_that_knows_it_and_a_table_to_its_own_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text(
        """
        batch-metadata = ["from=everywhere"]
        batch-window = "1m"
        max_queued_bytes = "1GiB"
        poll-interval = 3
        port = 0

        [serve]
        batch-metadata = ["from=serve"]
        port = 70000
        """
    )
    assert last_event(config)["metadata"] == {"from": "everywhere"}
    assert main(["serve", "--config", str(config)]) == 2
    assert '"70000" for port' in capsys.readouterr().err
    config.write_text(config.read_text() + '[run]\nbatch-metadata = ["from=run", "k=v=w"]\n')
    assert last_event(config)["metadata"] == {"from": "run", "k": "v=w"}


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text('[run]\nbatch-metadata = ["from=file"]\n')
    variable = {"AUTOBATCHER_BATCH_METADATA": "from=environment"}
    assert last_event(config, **variable)["metadata"] == {"from": "environment"}
    assert last_event(config, "--batch-metadata", "from=flag", **variable)["metadata"] == {"from": "flag"}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_switch_in_the_file_is_a_flag(keeps: bool, tmp_path: Path) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text(f"keep-active-batches-on-close = {str(keeps).lower()}\n")
    assert last_event(config)["cancel_active_batches_on_close"] is not keeps


def test_the_file_itself_may_be_named_by_a_variable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text("btch-size = 5")
    assert run(AUTOBATCHER_CONFIG=str(config)) == 2
    assert "there is no key btch-size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("btch-size = 5", "there is no key btch-size; did you mean 'batch-size'?"),
        ("[srve]\nport = 1", "there is no table [srve]; did you mean 'serve'?"),
        ("[status]\njournal = 'x'", "there is no table [status]"),
        ("[serve]\nbtch-size = 5", "there is no key [serve] btch-size; did you mean 'batch-size'?"),
        ("[run]\nport = 5", "there is no key [run] port"),
        ("config = 'other.toml'", "there is no key config"),
        ("batch-size = 'many'", "batch-size must be a whole number, not 'many'"),
        ("batch-size = true", "batch-size must be a whole number, not True"),
        ("batch-size = 1.5", "batch-size must be a whole number, not 1.5"),
        ("batch-size = 0", "batch-size"),
        ("[serve]\nsaving = '1'", "[serve] saving must be a number, not '1'"),
        ("batch-window = [1]", 'batch-window must be a number of seconds, or a text such as "30m", not [1]'),
        ("batch-window = '5parsecs'", '"5parsecs" is no duration'),
        ("max-body-bytes = 1.5", 'max-body-bytes must be a number of bytes, or a text such as "64MB", not 1.5'),
        ("max-body-bytes = '5parsecs'", '"5parsecs" is no size'),
        ("keep-input-files = 'yes'", "keep-input-files must be true or false, not 'yes'"),
        ("provider = 5", "provider must be a text, not 5"),
        ("max-cost = true", 'max-cost must be a number of dollars, or a text such as "20/day", not True'),
        ("max-cost = '5 euros'", "Must be dollars"),
        ("max-cost = 0.25\nunknown-prices = 'guess'", "unknown-prices"),  # the number is none
        ("lanes = ['fast']", "lanes in"),
        ("lanes = 'flex, batch'", 'Must name the cheapest lane first: "batch", "flex"'),
        ("lanes = 5", "lanes must be a list of texts, not 5"),
        ("deadline = 'soon'", '"soon" is no duration'),
        ("deadline = 0", "Must be in the future"),
        ("batch-metadata = 'a=b'", "batch-metadata must be a list of texts, not 'a=b'"),
        ("completion-window = '5parsecs'", "5parsecs"),
        ("log-level = 'loud'", "log-level"),
        ("= 5", "cannot read"),
    ],
)
def test_what_a_file_cannot_say_is_one_line_and_exit_code_2(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text(text)
    assert main(["serve", "--port", "0", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert str(config) in error


def test_an_unknown_variable_is_warned_of_once_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(AUTOBATCHER_BATCH_SIZ="5", AUTOBATCHER_WEATHER="fine") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        "autobatcher: warning: AUTOBATCHER_BATCH_SIZ is ignored: there is no such flag; "
        "did you mean AUTOBATCHER_BATCH_SIZE?",
        "autobatcher: warning: AUTOBATCHER_WEATHER is ignored: there is no such flag.",
    ]


def test_a_variable_that_another_command_knows_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(AUTOBATCHER_FORWARD_TO="http://x.test/v1", AUTOBATCHER_PORT="1") == 0
    assert "warning" not in capsys.readouterr().err


OF_KUBERNETES = {
    "AUTOBATCHER_SERVICE_HOST": "10.0.0.1",
    "AUTOBATCHER_SERVICE_PORT": "80",
    "AUTOBATCHER_SERVICE_PORT_HTTP": "80",
    "AUTOBATCHER_PORT": "tcp://10.0.0.1:80",
    "AUTOBATCHER_PORT_80_TCP": "tcp://10.0.0.1:80",
    "AUTOBATCHER_PORT_80_TCP_PROTO": "tcp",
    "AUTOBATCHER_PORT_80_TCP_PORT": "80",
    "AUTOBATCHER_PORT_80_TCP_ADDR": "10.0.0.1",
    "AUTOBATCHER_CANARY_PORT": "tcp://10.0.0.2:80",
}
"""What a pod has beside Services named autobatcher and autobatcher-canary."""


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in OF_KUBERNETES.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "autobatcher.toml"
    config.write_text("port = 70000")
    assert main(["serve", "--no-check", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert '"70000" for port' in error  # of the file, which a variable would have replaced
    assert error.count("\n") == 1


def test_a_port_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOBATCHER_PORT", "http://10.0.0.1:80")
    assert main(["serve", "--no-check"]) == 2
    assert "Invalid value for AUTOBATCHER_PORT" in capsys.readouterr().err


def test_variables_take_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(AUTOBATCHER_BATCH_WINDOW="1m", AUTOBATCHER_MAX_BODY_BYTES="1MiB") == 0
    assert run(AUTOBATCHER_BATCH_WINDOW="5parsecs") == 2
    assert "AUTOBATCHER_BATCH_WINDOW" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (["cancel"], "AUTOBATCHER_ALL"),
        (["forget"], "AUTOBATCHER_ALL"),
        (["forget"], "AUTOBATCHER_TAKEN"),
        (["forget"], "AUTOBATCHER_OLDER_THAN"),
        (["forget"], "AUTOBATCHER_BATCHES"),
        (["cancel"], "AUTOBATCHER_BATCHES"),
    ],
)
def test_what_deletes_or_widens_never_comes_from_the_environment(
    command: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("AUTOBATCHER_JOURNAL", "/does/not/exist")
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"warning: {variable} is ignored" in error
    assert {"cancel": "which batches?", "forget": "forget what?"}[command[0]] in error


def test_force_never_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOBATCHER_FORCE", "true")
    assert main(["forget", "--all", "--journal", str(tmp_path / "none")]) == 2
    assert "AUTOBATCHER_FORCE is ignored: it deletes, or widens" in capsys.readouterr().err
