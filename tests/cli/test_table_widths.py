"""Every table of every command fits the terminal; what is no terminal gets it whole."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from autobatcher.cli import batch_report, cancel, forget, main, reconcile, status
from autobatcher.cli.arrivals import Arrivals
from autobatcher.cli.batch_rows import Row, Seen
from autobatcher.cli.batch_run import Counts
from autobatcher.cli.check import print_checked
from autobatcher.cli.check_report import Checked
from autobatcher.cli.engines import Engines
from autobatcher.cli.journal import print_report
from autobatcher.cli.output import PrintableConsole, print_notice, print_text, table_room
from autobatcher.cli.results import print_results
from autobatcher.cli.run_summary import Summary, summary_rows
from autobatcher.cli.summary import Summary as DemoSummary
from autobatcher.cli.summary import summary_rows as demo_rows
from autobatcher.cli.summary import summary_text
from autobatcher.cli.text_table import ROWS_LOOKED_AT
from autobatcher.cli.watch import LivePicture
from autobatcher.engine.journal import BatchRecord
from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.file import Report, Result, Session, TableSize
from autobatcher.engine.journal.store import Store
from autobatcher.engine.reconciliation import Finding
from autobatcher.events import RequestCounts
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.receipt import Receipt
from autobatcher.money.usage import Usage
from autobatcher.progress import BatchProgress, Progress
from autobatcher.upstream.batch_state import BatchState
from autobatcher.upstream.probe import Answered
from autobatcher.upstream.providers import DOUBLEWORD

WIDTHS = (60, 80, 120)
BATCH_ID = "batch_68f0c1d2e3a4b5c6d7e8f90123456789abcdef01"
MODEL = "Qwen/Qwen3-VL-235B-A22B-Instruct-FP8-2507"
NOW = time.time()
HOST = "a-machine-with-a-long-name.internal.example.com"
ENGINE = Session(1234, "p", HOST, 4_194_304, "http://x:8080/", NOW, "", True, 12, 50_000)
REASON = "not cancelled: POST /batches answered 503, and the batch cannot be polled: the upstream is overloaded now"


def record(number: int = 0, **fields: Any) -> BatchRecord:
    known: dict[str, Any] = {
        "idempotency_key": f"{number:032x}",
        "account": b"x",
        "base_url": "https://a-gateway.with-a-long-name.internal.example.com/v1",
        "provider": "openai",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "models": [MODEL, "日本語のモデル"],
        "metadata": {},
        "request_count": 50_000,
        "batch_id": BATCH_ID,
        "stage": "created",
        "status": "in_progress",
    }
    return BatchRecord(**{**known, **fields})


def seen(*, with_engines: bool) -> Seen:
    state = BatchState(
        id=BATCH_ID, status="in_progress", counts=RequestCounts(completed=49_998, failed=1, total=50_000)
    )
    rows = [
        Row(record=record(1), state=state, host="a-gateway.with-a-long-name.internal.example.com", is_ours=True),
        Row(record=record(2, batch_id=None, stage="creating"), host="h", trouble="answered 503: overloaded, try later"),
        Row(record=record(3, batch_id=None, stage="answered", completion_window="flex"), host="h"),
        Row(state=state, host="h"),
    ]
    engines = (
        Engines([ENGINE, ENGINE._replace(number=1235, is_alive=False)], {f"{1:032x}": 1234}) if with_engines else None
    )
    return Seen(rows, foreign=12).with_engines(engines)


def show_results(_: Path) -> None:
    body = b'{"model": "m", "input": "What is the longest word of all, and why is it as long as it is?"}'
    answer = '{"output": [{"content": [{"text": "日本語 and a long answer, too long for a row"}]}]}'.encode()
    lines = (Result("0" * 32, n, "/v1/chat/completions", body, 200, answer, None, is_taken=True) for n in range(3))
    print_results(lines, room=table_room())


def show_cancelled(_: Path) -> None:
    ends = [cancel.End(cancel.Target(BATCH_ID), BATCH_ID, words) for words in ("cancelled", REASON)]
    cancel.report(ends, as_json=False, room=table_room())


def show_reconciled(_: Path) -> None:
    failed = Finding(
        record=record(1), verdict="failed", batch_id=BATCH_ID, status="in_progress", answers=12, reason=REASON
    )
    findings = [failed, Finding(record=record(2), verdict="read")]
    reconcile.report(findings, [record(3)], as_json=False, room=table_room())


def show_receipt(folder: Path) -> None:
    journal = folder / f"journal-{len(list(folder.iterdir()))}.sqlite3"
    sort = Sort("openai", "https://api.openai.com/v1", "gpt-4o-mini", "/v1/responses", "batch", "24h", Fate.DELIVERED)
    sorts = [sort, sort._replace(fate=Fate.UNKNOWN), sort._replace(model=MODEL)]
    store = Store(journal)
    store.intend(record(1), [], is_hash_only=False)
    usage = Usage(input=123_456_789, output=12_345_678)
    store.answer((), [NewCharge(f"{1:032x}", Charge(each, usage, BATCH_ID)) for each in sorts], now=NOW)
    store.close()
    for by in ("model", "batch", "day"):
        assert main(["receipt", "--by", by, "--journal", str(journal)]) == 0


def show_plan(folder: Path) -> None:
    lines = [
        f'{{"custom_id": "{n}", "method": "POST", "url": "/v1/chat/completions", "body": {{"model": "{model}", '
        f'"messages": [{{"role": "user", "content": "hello"}}]}}}}'
        for n, model in enumerate((MODEL, "gpt-4o-mini"))
    ]
    (folder / "in.jsonl").write_text("\n".join([*lines, "this is no JSON"]), encoding="utf-8")
    assert main(["plan", str(folder / "in.jsonl"), "--provider", "openai"]) == 1


def show_check(_: Path) -> None:
    listed = Answered(content={"data": [{"id": MODEL}, {"id": "日本語のモデル"}]}, was_heard=True)
    refused = Answered(status=401, failure="GET /batches answered 401: " + "no such key " * 8, was_heard=True)
    print_checked(
        Checked(
            base_url="https://a-gateway.with-a-long-name.internal.example.com/with/a/path/v1",
            profile=DOUBLEWORD,
            chosen_by="default",
            batches=refused,
            files=refused,
            models=listed,
        )
    )


def show_journal(_: Path) -> None:
    tables = [TableSize("answers", 12_345_678, 9_876_543_210)]
    url = "postgresql://app@db.with-a-long-name.internal.example.com/app?schema=autobatcher"
    missing = ["INSERT ON autobatcher.batches", "UPDATE ON autobatcher.answers"]
    print_report(Report(url, "17.2", "app", "autobatcher", 3, 3, missing, REASON, [ENGINE], tables), room=table_room())


def show_summary(_: Path) -> None:
    progress = Progress(None, batches={BATCH_ID + str(n): BatchProgress(n, BATCH_ID, 5, 0.0) for n in range(7)})
    counted = {"requests": 12, "answered": 3, "failed": 4, "deadlines_missed": 5, "input_tokens": 6, "output_tokens": 7}
    tally = SimpleNamespace(**counted, lanes={"flex": 123, "realtime": 4})
    of_run = Summary(
        exit_code=0, was_started=True, tally=tally, progress=progress, receipt=Receipt(()), arrivals=Arrivals()
    )
    for line in summary_rows(of_run):
        print_notice(f"autobatcher run: {line}")


def show_batch(_: Path) -> None:
    progress = Progress(None)
    progress.fail(ValueError("the upstream says that " + "it cannot " * 20))
    counts = Counts(lines=50_000, answered=49_000, failed=1_000)
    batch_report.report(
        batch_report.Ended(
            counts=counts, progress=progress, receipt=Receipt(()), received=None, failures="OUT", has_journal=True
        )
    )


def show_demo(_: Path) -> None:
    prices = "$1.00 per million input tokens, $4.00 per million output tokens, as batches half of that"
    rows = demo_rows(DemoSummary(f"at https://{'x' * 50}.test/v1", 1, 1, 1, 1, 1, 1, 1.0, prices=prices))
    print_text(summary_text(rows, room=table_room()), wraps=False)


def show_status(_: Path) -> None:
    for with_engines in (False, True):
        for with_upstream in (False, True):
            status.report(
                seen(with_engines=with_engines), as_json=False, with_upstream=with_upstream, room=table_room()
            )


def show_watch(_: Path) -> None:
    picture = LivePicture()
    for with_engines in (False, True):
        picture.take(seen(with_engines=with_engines))
        PrintableConsole().print(picture.picture(seen(with_engines=with_engines)))


def show_forgotten(_: Path) -> None:
    forget.report([record(1)], {record(1).idempotency_key: "it may still run. " * 9}, 3, as_json=False)


def show_prices(_: Path) -> None:
    assert main(["prices", "gpt-4o-mini", MODEL, "--provider", "openai"]) == 0
    assert main(["prices", "--provider", "doubleword"]) == 0


TABLES: dict[str, Callable[[Path], None]] = {
    "status": show_status,
    "watch": show_watch,
    "results": show_results,
    "cancel": show_cancelled,
    "reconcile": show_reconciled,
    "forget": show_forgotten,
    "receipt": show_receipt,
    "prices": show_prices,
    "plan": show_plan,
    "check": show_check,
    "journal check": show_journal,
    "batch": show_batch,
    "run": show_summary,
    "demo": show_demo,
}
NAME_BATCHES = ("status", "watch", "cancel", "reconcile", "receipt")


class Screen(io.StringIO):
    """A terminal, as far as programs look."""

    def isatty(self) -> bool:
        return True


def shown(output: str) -> list[str]:
    """The lines, without what colours them and moves the cursor."""
    return [line.plain for line in Text.from_ansi(output).split("\n")]


@pytest.fixture
def on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Callable[[Path], None], int], list[str]]:
    def show(table: Callable[[Path], None], columns: int) -> list[str]:
        screen = Screen()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", screen)
            patch.setattr(sys, "stderr", screen)
            table(tmp_path)
        return shown(screen.getvalue())

    return show


def has_ids(lines: Iterable[str]) -> bool:
    """Whether the batch is named: whole, or by its beginning and its end."""
    words = {word for line in lines for word in line.split()}
    return any(word == BATCH_ID or (word[:5] == BATCH_ID[:5] and word[-5:] == BATCH_ID[-5:]) for word in words)


@pytest.mark.proves("faults", "a table on a terminal of 60, 80 or 120 columns")
@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_the_terminal_and_still_names_its_batches(
    name: str, on_a_terminal: Callable[[Callable[[Path], None], int], list[str]]
) -> None:
    for columns in WIDTHS:
        lines = on_a_terminal(TABLES[name], columns)
        assert [line for line in lines if cell_len(line.rstrip()) > columns] == []
        assert any(line.strip() for line in lines)
        assert not any("…" in line for line in lines), "rich has cropped what nobody fitted"
        assert has_ids(lines) or name not in NAME_BATCHES, lines


@pytest.mark.parametrize("name", [name for name in TABLES if name in NAME_BATCHES and name not in ("watch", "receipt")])
def test_what_is_no_terminal_gets_ids_whole_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    TABLES[name](tmp_path)
    assert BATCH_ID in capsys.readouterr().out


def test_results_are_printed_as_they_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    read, printed = 0, 0
    held = []

    def source() -> Iterable[Result]:
        nonlocal read, printed
        for number in range(3 * ROWS_LOOKED_AT):
            read += 1
            printed += capsys.readouterr().out.count("\n")
            held.append(read - printed)
            yield Result("0" * 32, number, "/v1/responses", b"{}", None, None, None, is_taken=False)

    print_results(source(), room=None)
    assert max(held) <= ROWS_LOOKED_AT
    assert printed + capsys.readouterr().out.count("\n") == read + 1  # and the headings


def test_wide_shows_ids_whole_on_a_narrow_terminal(
    on_a_terminal: Callable[[Callable[[Path], None], int], list[str]], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.sqlite3"
    store = Store(journal)
    store.intend(record(1), [(0, "/v1/responses", b"{}")], is_hash_only=False)
    store.close()
    for command, name in (("status", BATCH_ID), ("results", f"{1:032x}-0")):
        for flags, is_whole in (([], False), (["--wide"], True)):
            asked = partial(_main, command, "--journal", str(journal), *flags)
            assert any(name in line for line in on_a_terminal(asked, 60)) == is_whole


def _main(*arguments: str | Path) -> None:
    assert main([str(each) for each in arguments[:-1]]) == 0  # the last one is the folder
