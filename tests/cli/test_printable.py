"""What strangers wrote commands no terminal: not in a table, a line, a log, a live picture, nor in JSON."""

from __future__ import annotations

import io
import json
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from autobatcher import events
from autobatcher.cli import event_lines, main
from autobatcher.cli.live_status import Screen
from autobatcher.cli.output import PrintableConsole, print_notice, print_text
from autobatcher.display.picture import picture
from autobatcher.display.snapshot import snapshot_of
from autobatcher.engine.journal.store import Store
from autobatcher.printable import PrintableFormatter, json_line, printable
from autobatcher.progress import BatchProgress, Progress
from tests.journal.records import a_record

NASTY = "id\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202egnp\u2066\u200b\u2028\x85\r\nforged [bold]b[/bold] [link=http://x]l[/link]"
"""Sets a title, clears the screen, turns the text around, hides a character, begins a line, and is markup."""
MARKUP = "[bold]b[/bold] [link=http://x]l[/link]"


def assert_harmless(told: str) -> None:
    """Only line feeds of ours; and what looks like markup is there as it is."""
    assert told.replace("\n", "").isprintable(), repr(told)
    assert not any(line.startswith("forged") for line in told.splitlines())


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    with closing(Store(path)) as store, store.transaction():
        store.intend(a_record("one"), [(0, "/v1/\x1bembeddings", NASTY.encode())], is_hash_only=False)
        store.update("one", now=2.0, stage="created", batch_id=NASTY, status=NASTY)
        store.answer([("one", 0, 200, json.dumps({"error": {"message": NASTY}}).encode(), NASTY, False)], now=3.0)
    return path


@pytest.mark.proves("faults", "ids, statuses, prompts, answers and reasons with control characters or markup in them")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["status"], 0),
        (["results"], 0),
        (["forget", NASTY], 1),
        (["forget", "none" + NASTY], 2),
        (["cancel", "none" + NASTY, "--api-key", "k", "--base-url", "http://127.0.0.1:9"], 1),
        (["cancel", "none", "--api-key", "k", "--base-url", "http://127.0.0.1:9/\x1b[2J"], 2),
        (["nonsense" + NASTY], 2),
    ],
    ids=str,
)
def test_no_command_prints_what_a_terminal_obeys(
    command: list[str], code: int, journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.cli.cancel.CANCEL_SECONDS", 0.1)
    monkeypatch.setenv("COLUMNS", "1000")
    assert main([*command, *(() if command[0].startswith("nonsense") else ("--journal", str(journal)))]) == code
    told = capsys.readouterr()
    assert_harmless(told.out)
    assert_harmless(told.err)
    assert code == 2 or "[bold]b[/bold]" in told.out or command[0] in ("results", "cancel")


@pytest.mark.parametrize("command", ["status", "results", "forget"])
def test_json_lines_keep_every_character_as_an_escape(
    command: str, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, "--json", "--journal", str(journal), *(("--all",) if command == "forget" else ())])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert NASTY in json.loads(line).get("kept", [json.loads(line).get("batch_id")])


def test_a_json_line_is_the_same_object() -> None:
    fields = {"b": NASTY, "a": {"\x7f": [1, None, "\ud800"]}}
    assert json.loads(json_line(fields)) == fields
    assert json.loads(json_line(fields, {"c": '["\u202e\U0001f600\x7f"]'}))["c"] == ["\u202e\U0001f600\x7f"]


def test_event_lines_are_printable() -> None:
    stream = io.StringIO()
    with event_lines.event_lines(stream) as lines:
        lines.write({"error": NASTY})
    assert stream.getvalue().removesuffix("\n").isprintable()
    assert json.loads(stream.getvalue()) == {"error": NASTY}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_live_picture_shows_strange_words_and_obeys_none(is_terminal: bool) -> None:
    progress = Progress(requests=1)
    progress.batches["b"] = batch = BatchProgress(1, "b", total=1, begun=0.0)
    batch.move(NASTY, events.RequestCounts(total=1))
    told = drawn(picture(snapshot_of(progress, queued=0)), is_terminal)
    assert "]0;title" in told
    for command in ("\x1b]", "\x1b[2J", "\x9b", "\x7f", "\u202e", "\u200b", "\u2028"):
        assert command not in told


def drawn(told: Any, is_terminal: bool) -> str:
    file = io.StringIO()
    console = PrintableConsole(file=file, force_terminal=is_terminal, width=1000, color_system="standard")
    console.print(told)
    Screen(console, is_live=False).say(NASTY)
    assert MARKUP in file.getvalue()
    return file.getvalue()


def test_notices_and_texts_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_notice(NASTY)
    print_text(NASTY)
    print_text(Text(NASTY.replace("\n", "") + "\n"))
    told = capsys.readouterr()
    assert_harmless(told.out + told.err)
    assert told.out.count("\n") == 2
    assert MARKUP in told.out


def test_log_lines_are_printable_whatever_handler_a_program_has(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(NASTY)
    except ValueError:
        logging.getLogger("autobatcher").exception("batch %s, %d requests, %r", NASTY, 3, NASTY)
    assert caplog.text.replace("\n", "").isprintable()
    assert "3 requests" in caplog.text
    assert "ValueError: id ]0;title" in caplog.text


def test_log_lines_of_other_libraries_are_printable_in_the_commands() -> None:
    record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "HTTP Request: %s", (NASTY,), None)
    assert PrintableFormatter("%(message)s").format(record).replace("\n", "").isprintable()


def test_ordinary_words_stay_as_they_are() -> None:
    for text in ("batch_1: 5 of 10", "Grüße, 日本語, العربية", "🙂 e\u0301"):
        assert printable(text) is text
