"""`autobatcher receipt`: what a journal says was paid."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from autobatcher.cli import main
from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.schema import MIGRATIONS
from autobatcher.engine.journal.store import Store
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.journal.records import a_record

DAY = 86_400.0
PRICES = """
["m*"]
input = 1000
output = 4000
batch = {input = 500, output = 2000}
"""
USAGE = Usage(input=2_000, output=1_000)
"""Four dollars and two, in a batch of `PRICES` three."""


def charge(model: str = "m", fate: Fate = Fate.DELIVERED, lane: str = "batch", batch_id: str = "batch_1") -> Charge:
    window = "24h" if lane == "batch" else ""
    sort = Sort("openai", "https://api.openai.com/v1", model, "/v1/responses", lane, window, fate)
    return Charge(sort, USAGE, batch_id if lane == "batch" else "")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Ten days ago two answers, today one of another job, and what nobody should have to pay for."""
    path, now = tmp_path / "journal.sqlite3", time.time()
    with closing(Store(path)) as store:
        for key, job in (("first", "nightly"), ("second", "release")):
            record = a_record(key)
            record.metadata["job"] = job
            store.intend(record, [], is_hash_only=False)
        store.answer((), [NewCharge("first", charge()), NewCharge("first", charge())], now=now - 10 * DAY)
        today = [charge("m2", batch_id="batch_2"), charge(fate=Fate.DISCARDED, batch_id="batch_2")]
        today += [charge(fate=Fate.PAID_TWICE, batch_id="batch_2"), charge(fate=Fate.UNKNOWN, batch_id="batch_2")]
        store.answer((), [NewCharge("second", each) for each in today], now=now)
        store.answer((), [NewCharge("a call", charge("n", lane="realtime"))], now=now)
    (tmp_path / "prices.toml").write_text(PRICES)
    return path


def receipt(journal: Path, *flags: str) -> int:
    return main(["receipt", "--journal", str(journal), "--prices", str(journal.parent / "prices.toml"), *flags])


def test_what_was_delivered_is_a_table_and_everything_else_is_told_apart(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert receipt(journal) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model         requests  tokens in  tokens out  cost     list price  saved",
        "m batch 24h          2      4,000       2,000  $6.00    $12.00      50 %",
        "m2 batch 24h         1      2,000       1,000  $3.00    $6.00       50 %",
        "n realtime           1      2,000       1,000  unknown  -           -",
        "",
        "1 request, $3.00: paid for, and nobody waited for the answers any more",
        "1 request, $3.00: paid twice",
        "1 request, $3.00: at most, perhaps: nobody knows whether they were executed",
        "1 request of unknown price: n (realtime), /v1/responses",
        "$15.00 for 5 requests instead of $18.00 ($3.00 saved, 17 %); 1 request of unknown price; "
        "1 more may have been executed",
    ]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("batch", {"batch_1": "6", "batch_2": "9", "-": "0"}),
        ("job", {"nightly": "6", "release": "9", "-": "0"}),
        ("model", {"m batch 24h": "12", "m2 batch 24h": "3", "n realtime": "0"}),
    ],
)
def test_it_is_grouped_by_what_one_asks_for(
    by: str, groups: dict[str, str], journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert receipt(journal, "--by", by, "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["group"]: each["cost"] for each in told} == groups
    assert receipt(journal, "--by", by) == 0
    assert all(key in capsys.readouterr().out for key in list(groups)[:1])


def test_days_are_in_order_and_since_leaves_out_older_ones(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert receipt(journal, "--by", "day", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["cost"] for each in told] == ["6", "9"]
    assert sorted(each["group"] for each in told) == [each["group"] for each in told]
    assert receipt(journal, "--since", "7d", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert Decimal(whole["cost"]) == 9
    assert (whole["unpriced_requests"], whole["uncertain_requests"]) == (1, 1)


def test_a_narrow_terminal_loses_columns_and_no_line_is_too_long(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width, heading in ((80, "saved"), (60, "saved"), (46, "list price"), (36, "cost")):
        monkeypatch.setenv("COLUMNS", str(width))
        assert receipt(journal) == 0
        table = capsys.readouterr().out.partition("\n\n")[0].splitlines()
        assert table[0].endswith(heading)
        assert max(map(len, table)) <= width


def test_markdown_is_that_of_a_summary(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert receipt(journal, "--markdown") == 0
    assert "| m2 | /v1/responses | batch 24h | 1 |" in capsys.readouterr().out
    assert receipt(journal, "--markdown", "--json") == 2


def test_a_journal_older_than_the_count_of_cache_writes_is_read_as_it_is_and_migrated_when_it_is_opened(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = next(number for number, each in enumerate(MIGRATIONS) if "cache_write" in each)
    with closing(sqlite3.connect(journal)) as connection:
        connection.executescript(
            "DROP INDEX charges_by_hour; ALTER TABLE charges RENAME TO new; DROP TABLE calibration; "
            "DROP TABLE reservations; DROP TABLE responses;"
        )
        connection.executescript(MIGRATIONS[added - 1])
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(charges)")]
        connection.execute(f"INSERT INTO charges SELECT {', '.join(names)} FROM new")
        connection.executescript(f"DROP TABLE new; PRAGMA user_version = {added};")
    assert receipt(journal, "--json") == 0
    before = json.loads(capsys.readouterr().out)
    assert before["cost"] == "15"
    with closing(Store(journal)) as store:
        store.answer((), [NewCharge("first", charge())], now=time.time())
    assert receipt(journal, "--json") == 0
    assert json.loads(capsys.readouterr().out)["cost"] == "18"


def test_a_journal_that_never_kept_what_was_billed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.sqlite3"
    versions = next(number for number, each in enumerate(MIGRATIONS) if "CREATE TABLE charges" in each)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("".join(MIGRATIONS[:versions]) + f"PRAGMA user_version = {versions};")
    os.chmod(path, 0o600)
    (tmp_path / "prices.toml").write_text(PRICES)
    assert receipt(path) == 0
    told = capsys.readouterr()
    assert "is of an older autobatcher, which did not keep what was billed" in told.err
    assert told.out == ""
    assert receipt(tmp_path / "absent.sqlite3") == 2
