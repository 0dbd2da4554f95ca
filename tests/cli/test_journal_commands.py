"""`autobatcher status`, `watch`, `results`, `cancel`, `reconcile`, `forget`: on journals that real programs left."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from autobatcher import BatchOpenAI
from autobatcher.cli import main
from autobatcher.client.sdk import account_behind
from autobatcher.engine.journal import BatchRecord
from autobatcher.engine.journal.identity import fingerprint
from autobatcher.engine.journal.ownership import Ownership
from autobatcher.engine.journal.store import Store
from autobatcher.errors import JournalError
from tests.cli.asker import KEY
from tests.cli.processes import emulator, environment, run, started

pytestmark = pytest.mark.real_time

FAULTS = {
    "faults": [
        # The third batch is created, and nobody hears of it; the first look at a batch fails.
        {"level": "http", "operation": "batches.create", "nth": [3], "after_processing": True, "delay_seconds": 100},
        {"level": "http", "operation": "batches.retrieve", "nth": [1], "status": 503},
    ]
}
COMMANDS = ("status", "watch", "results", "cancel", "reconcile", "forget")


@pytest.fixture(scope="module")
def quick_upstream() -> Iterator[str]:
    with emulator() as url:
        yield url


@pytest.fixture
def empty_upstream() -> Iterator[str]:
    """One on which no other test has batches."""
    with emulator() as url:
        yield url


@contextmanager
def asker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is killed with the end of the block."""
    command = [sys.executable, "-m", "tests.cli.asker", *arguments]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def left_by_a_killed_program(upstream: str, journal: Path, count: int, *words: str, submitted: int) -> None:
    """The journal of a program that died when it had heard of so many batches."""
    with asker(upstream, str(journal), str(count), *words):
        wait_until_written(journal, submitted)
        while len(listed(upstream)) < count:  # creations nobody hears of
            time.sleep(0.05)


def wait_until_written(journal: Path, submitted: int) -> None:
    """Until the journal has the ids of so many batches."""
    for _ in range(400):
        if journal.exists() and journal.stat().st_size and count_ids(journal) == submitted:
            return
        time.sleep(0.05)
    raise AssertionError("the program did not submit its batches")


def count_ids(journal: Path) -> int:
    try:
        return sum(record.batch_id is not None for record in records_of(journal))
    except JournalError:  # it is just being made
        return 0


def upload(upstream: str, name: str, content: bytes) -> str:
    sent = httpx.post(f"{upstream}/files", data={"purpose": "batch"}, files={"file": (name, content)}, timeout=10)
    return str(sent.json()["id"])


def create_batch(upstream: str, idempotency_key: str = "") -> str:
    """A batch that runs, made by somebody else, or by a program that carried this idempotency key."""
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    file_id = upload(upstream, "theirs.jsonl", json.dumps(line).encode())
    wanted: dict[str, Any] = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"autobatcher_stamp": idempotency_key} if idempotency_key else {},
    }
    return str(httpx.post(f"{upstream}/batches", json=wanted, timeout=10).json()["id"])


@pytest.fixture(scope="module")
def _unfinished(slow_upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    journal = tmp_path_factory.mktemp("killed") / "journal.sqlite3"
    left_by_a_killed_program(slow_upstream, journal, 2, submitted=2)
    return journal


@pytest.fixture
def unfinished(_unfinished: Path, tmp_path: Path) -> Path:
    """A copy of the journal of a program that was killed while two batches of one question each ran."""
    return copied(_unfinished, tmp_path)


@pytest.fixture(scope="module")
def _finished(quick_upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    journal = tmp_path_factory.mktemp("failed") / "journal.sqlite3"
    with asker(quick_upstream, str(journal), "2", "fails") as process:
        assert process.wait(20) == 3
    assert main(["reconcile", "--journal", str(journal), *to(quick_upstream)]) == 0  # it may not have come to the end
    return journal


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """The same of a program that got two answers and then failed."""
    return copied(_finished, tmp_path)


def copied(journal: Path, folder: Path) -> Path:
    for part in journal.parent.iterdir():
        shutil.copy(part, folder / part.name)
    return folder / journal.name


def listed(upstream: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{upstream}/batches", params={"limit": 100}, timeout=10).json()["data"]
    return found


def input_files(upstream: str) -> set[str]:
    page = httpx.get(f"{upstream}/files", params={"limit": 1000}, timeout=10).json()
    return {file["filename"] for file in page["data"] if file["purpose"] == "batch"}


def as_json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What a command told programs; each line with its keys sorted."""
    out, err = capsys.readouterr()
    assert KEY not in out + err
    lines = out.splitlines()
    values = [json.loads(line) for line in lines]
    assert lines == [json.dumps(value, sort_keys=True) for value in values]
    return values


def as_text(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    assert KEY not in told.out + told.err
    return told.out + told.err


def to(upstream: str, key: str = KEY) -> tuple[str, ...]:
    return ("--base-url", upstream, "--api-key", key)


def records_of(journal: Path) -> list[BatchRecord]:
    with closing(Store(journal, is_read_only=True)) as store:
        return store.batches()


def write_record(journal: Path, upstream: str, idempotency_key: str, **fields: Any) -> None:
    """A batch that an engine wrote down long ago and then died."""
    client = BatchOpenAI(base_url=upstream.replace("user:password@", ""), api_key=KEY)
    made: dict[str, Any] = {
        "idempotency_key": idempotency_key,
        "account": fingerprint(account_behind(client)),
        "base_url": upstream,
        "provider": "conservative",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "models": ["m"],
        "metadata": {},
        "request_count": 1,
        "created_at": 1.0,
        "changed_at": 1.0,
    }
    with closing(Store(journal)) as store, store.transaction():
        body = b'{"model":"m","messages":[{"role":"user","content":"lost"}]}'
        line = (0, "/v1/chat/completions", body)
        store.intend(BatchRecord(**{**made, **fields}), [line], is_hash_only=False)


# ---- calls on other lanes ----


def test_the_commands_know_calls_on_other_lanes(
    quick_upstream: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.sqlite3"
    write_record(journal, quick_upstream, "1" * 32, stage="calling", completion_window="flex")
    flags = ("--journal", str(journal))
    assert main(["status", *flags]) == 0
    text = as_text(capsys)
    assert "flex call: may have been billed" in text
    assert "0 batches, 1 call on other lanes" in text
    assert "not finished" not in text
    assert main(["status", "--upstream", "--json", *flags, *to(quick_upstream)]) == 0
    assert [(row["lane"], row["trouble"]) for row in as_json(capsys) if row["in_journal"]] == [("flex", None)]
    assert main(["watch", "--json", *flags, *to(quick_upstream)]) == 0
    assert main(["results", "--json", *flags]) == 0
    assert as_json(capsys)[-1]["lane"] == "flex"
    assert main(["cancel", "1" * 32, *flags, *to(quick_upstream)]) == 0
    assert "a call on the flex lane: nothing to cancel" in as_text(capsys)
    assert main(["reconcile", *flags, *to(quick_upstream)]) == 0
    assert "may have been billed" in as_text(capsys)
    assert main(["forget", "--all", *flags]) == 1
    assert "may have been billed" in as_text(capsys)
    assert [record.stage for record in records_of(journal)] == ["calling"]
    assert main(["forget", "--all", "--force", *flags]) == 0
    assert records_of(journal) == []


# ---- status ----


def test_lines_that_failed_are_no_answers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(finished)) as connection:
        connection.execute("UPDATE answers SET status_code = 400 WHERE id = (SELECT min(id) FROM answers)")
        connection.commit()
    flags = ("--journal", str(finished))
    assert main(["status", *flags, "--json"]) == 0
    assert sorted((row["answered"], row["failed"], row["taken"]) for row in as_json(capsys)) == [(0, 1, 1), (1, 0, 1)]
    assert main(["status", *flags]) == 0
    text = as_text(capsys)
    assert "read, 1 failed" in text
    assert "2 requests, 1 answered, 1 failed, 2 taken" in text
    assert main(["results", *flags]) == 0
    assert "2 requests, 1 answered, 1 failed" in as_text(capsys)


def test_status_tells_without_a_network_what_a_killed_program_left(
    unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--journal", str(unfinished), "--json"]) == 0
    rows = as_json(capsys)
    assert [(row["stage"], row["request_count"], row["answered"], row["taken"]) for row in rows] == [
        ("created", 1, 0, 0),
        ("created", 1, 0, 0),
    ]
    assert rows[0]["upstream"] is None
    assert rows[0]["models"] == ["m"]
    assert main(["status", "--journal", str(unfinished)]) == 0
    text = as_text(capsys)
    assert rows[0]["batch_id"] in text
    assert "127.0.0.1" in text
    assert "2 batches, 2 requests" in text
    assert "autobatcher reconcile" in text


def test_status_works_while_an_engine_owns_the_journal(slow_upstream: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    with asker(slow_upstream, str(journal), "1"):
        wait_until_written(journal, 1)
        told = run("status", AUTOBATCHER_JOURNAL=str(journal))
        assert (told.returncode, told.stderr) == (0, "")
        assert "batch_" in told.stdout


def test_status_in_words_for_each_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "journal.sqlite3"
    write_record(journal, "http://user:password@example.test/v1", "1" * 32)
    write_record(journal, "http://example.test/v1", "2" * 32, stage="creating")
    write_record(journal, "http://example.test/v1", "3" * 32, stage="ended", batch_id="b3", status="expired")
    assert main(["status", "--journal", str(journal)]) == 0
    text = as_text(capsys)
    assert "uploading" in text
    assert "uncertain" in text
    assert "read (expired)" in text
    assert "1 of them uncertain" in text
    assert "1" * 32 in text
    assert "password" not in text


def test_status_asks_the_upstream_and_names_what_is_in_another_journal(
    unfinished: Path, slow_upstream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["forget", records_of(unfinished)[0].idempotency_key, "--force", "--journal", str(unfinished)])
    capsys.readouterr()
    assert main(["status", "--upstream", "--json", "--journal", str(unfinished), *to(slow_upstream)]) == 0
    rows = as_json(capsys)
    assert rows[0]["in_journal"]
    assert rows[0]["upstream"]["status"] in (
        "validating",
        "in_progress",
        "cancelled",
    )  # other tests cancel all there is
    assert rows[0]["upstream"]["total"] == 1
    assert rows[1:]
    assert not any(row["in_journal"] for row in rows[1:])
    assert main(["status", "--upstream", "--journal", str(unfinished), *to(slow_upstream)]) == 0
    assert "not in the journal" in as_text(capsys)


def test_status_of_the_upstream_alone(
    slow_upstream: str, unfinished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", slow_upstream)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["status", "--upstream", "--json"]) == 0
    assert {row["batch_id"] for row in as_json(capsys)} >= {record.batch_id for record in records_of(unfinished)}


@pytest.mark.proves("faults", "batches of the account that other programs made")
def test_batches_of_other_programs_are_shown_only_if_asked_for(
    unfinished: Path, slow_upstream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = create_batch(slow_upstream)
    for journal in ((), ("--journal", str(unfinished))):
        flags = (*journal, *to(slow_upstream))
        assert main(["status", "--upstream", *flags]) == 0
        told = as_text(capsys)
        assert theirs not in told
        assert "--all-upstream lists them." in told
        assert main(["status", "--upstream", "--json", *flags]) == 0
        assert theirs not in as_text(capsys)
        assert main(["status", "--all-upstream", *flags]) == 0
        told = as_text(capsys)
        assert theirs in told
        assert "--all-upstream" not in told


def test_nothing_that_runs_and_a_batch_that_nobody_knows_are_told(
    empty_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    Store(journal).close()
    create_batch(empty_upstream)  # nobody's business here
    flags = ("--journal", str(journal), *to(empty_upstream))
    said = {
        ("status", "--upstream"): "There are no batches: nothing is running.",
        ("watch",): "nothing is running.",
        ("cancel", "--all"): "Nothing to cancel.",
        ("reconcile",): "Nothing to reconcile.",
    }
    for command, sentence in said.items():
        assert main([*command, *flags]) == 0
        assert sentence in as_text(capsys)
    assert main(["cancel", "batch_of_nobody", *flags]) == 1
    assert "not cancelled: the upstream knows no batch of this id with this key" in as_text(capsys)


def test_status_of_another_account_is_not_asked_for(
    unfinished: Path, slow_upstream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--journal", str(unfinished), *to(slow_upstream, "sk-another-key"))
    assert main(["status", "--upstream", "--json", *flags]) == 0
    assert [row["of_this_account"] for row in as_json(capsys)][:2] == [False, False]


def test_an_upstream_that_cannot_be_asked_is_exit_code_1(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--upstream", "--journal", str(unfinished), *to("http://127.0.0.1:9/v1")]) == 1
    text = as_text(capsys)
    assert "2 batches" in text
    assert "could not be asked" in text
    assert main(["status", "--upstream", *to("http://127.0.0.1:9/v1")]) == 1
    text = as_text(capsys)
    assert "could not be asked" in text
    assert "no batches" not in text  # nobody knows


# ---- watch ----


def test_watch_ends_when_nothing_may_run_any_more(
    unfinished: Path, slow_upstream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [str(record.batch_id) for record in records_of(unfinished)]
    flags = ("--journal", str(unfinished), *to(slow_upstream))
    with started("watch", "--interval", "0.1", *flags) as process:
        first = json.loads(process.stdout.readline()) if process.stdout else {}
        assert first["batch_id"] in ids
        assert main(["cancel", *ids, *to(slow_upstream)]) == 0
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
    last = {row["batch_id"]: row["upstream"]["status"] for row in map(json.loads, out.splitlines())}
    assert {last[batch_id] for batch_id in ids} == {"cancelled"}
    assert main(["watch", *flags]) == 0
    assert KEY not in out


def test_ctrl_c_ends_watch_with_130(slow_upstream: str) -> None:
    create_batch(slow_upstream)
    with started("watch", "--all-upstream", *to(slow_upstream)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (130, "")


def test_watch_gives_up_on_an_upstream_that_refuses(quick_upstream: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *to(f"{quick_upstream}/no/such/place")]) == 1
    assert as_text(capsys).count("404") == 1


# ---- results ----


def test_results_are_a_table_for_people_and_whole_bodies_for_programs(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", "--journal", str(finished)]) == 0
    text = as_text(capsys)
    assert text.count("question 0") == 2  # the emulator echoes
    assert "2 requests, 2 answered" in text
    assert main(["results", "--journal", str(finished), "--json"]) == 0
    rows = as_json(capsys)
    assert {row["request"]["messages"][0]["content"] for row in rows} == {"question 0", "question 1"}
    assert all(row["answer"]["choices"] and row["status_code"] == 200 and row["taken"] for row in rows)


def test_results_of_one_batch(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = records_of(finished)
    for name in (first.idempotency_key, str(first.batch_id)):
        assert main(["results", name, "--journal", str(finished), "--json"]) == 0
        assert [row["stamp"] for row in as_json(capsys)] == [first.idempotency_key]
    assert main(["results", "batch_of_nobody", "--journal", str(finished)]) == 2
    assert "batch_of_nobody" in as_text(capsys)


def test_a_reader_that_has_enough_is_no_error(finished: Path) -> None:
    command = f"{sys.executable} -m autobatcher results --json --journal {finished} | true"
    told = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, timeout=20)
    assert told.stderr == ""


# ---- cancel ----


def test_cancel_needs_no_lock_and_says_of_each_what_happened(
    slow_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    with asker(slow_upstream, str(journal), "2"):
        wait_until_written(journal, 2)
        first, second = records_of(journal)
        flags = ("--journal", str(journal), *to(slow_upstream))
        assert main(["cancel", first.idempotency_key, *flags]) == 0
        assert "cancelled" in as_text(capsys)
        assert main(["cancel", "--all", "--json", *flags]) == 0
        told = {row["batch_id"]: row["what_happened"] for row in as_json(capsys)}
        assert told == {first.batch_id: told[str(first.batch_id)], second.batch_id: "cancelled"}
    assert main(["cancel", "batch_of_nobody", str(second.batch_id), *to(slow_upstream)]) == 1
    assert "not cancelled" in as_text(capsys)


def test_cancel_leaves_batches_of_other_accounts_alone(
    unfinished: Path, slow_upstream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--journal", str(unfinished), *to(slow_upstream, "sk-another-key"))
    assert main(["cancel", "--all", *flags]) == 0
    assert as_text(capsys).count("left alone") == 2
    assert main(["cancel", records_of(unfinished)[0].idempotency_key, *flags]) == 1


def test_cancel_looks_up_what_nobody_heard_of(
    slow_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    batch_id = create_batch(slow_upstream, "a" * 32)
    write_record(journal, slow_upstream, "a" * 32, stage="creating")
    write_record(journal, slow_upstream, "b" * 32, stage="creating")
    write_record(journal, slow_upstream, "c" * 32)
    names = ("a" * 32, "b" * 32, "c" * 32)
    assert main(["cancel", *names, "--json", "--journal", str(journal), *to(slow_upstream)]) == 0
    assert [(row["batch_id"], row["what_happened"]) for row in as_json(capsys)] == [
        (batch_id, "cancelled"),
        (None, "was never created: nothing to cancel"),
        (None, "was not created yet: nothing to cancel"),
    ]


# ---- reconcile ----


def test_reconcile_reads_what_ended_and_finds_what_nobody_heard_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, faults = tmp_path / "journal.sqlite3", tmp_path / "faults.json"
    faults.write_text(json.dumps(FAULTS))
    with emulator("--faults", str(faults)) as upstream:
        left_by_a_killed_program(upstream, journal, 3, submitted=2)
        flags = ("--journal", str(journal), *to(upstream))
        assert main(["status", "--journal", str(journal)]) == 0
        assert "1 of them uncertain" in as_text(capsys)
        assert len(input_files(upstream)) == 3

        assert main(["reconcile", "--json", *flags]) == 1  # one could not be looked at; that stops no other
        rows = as_json(capsys)
        assert sorted((row["found"], row["answers_stored"]) for row in rows) == [
            ("failed", 0),
            ("read", 1),
            ("read", 1),
        ]
        assert "503" in next(row["reason"] for row in rows if row["found"] == "failed")

        assert main(["reconcile", *flags]) == 0
        assert "1 batch looked at, 1 answer stored." in as_text(capsys)
        assert {record.stage for record in records_of(journal)} == {"ended"}
        assert input_files(upstream) == set()
        assert main(["results", "--journal", str(journal), "--json"]) == 0
        assert [row["status_code"] for row in as_json(capsys)] == [200, 200, 200]
        assert main(["reconcile", *flags]) == 0
        assert "Nothing to reconcile" in as_text(capsys)

        with asker(upstream, str(journal), "3", "fails") as process:  # its rerun is given them, and pays nothing
            assert process.wait(20) == 3
        assert len(listed(upstream)) == 3


def test_reconcile_leaves_running_batches_and_those_of_other_accounts(
    slow_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    write_record(journal, slow_upstream, "1" * 32, stage="created", batch_id=create_batch(slow_upstream))
    write_record(journal, slow_upstream, "2" * 32, stage="created", batch_id="batch_theirs", account=b"another")
    assert main(["reconcile", "--journal", str(journal), *to(slow_upstream)]) == 0
    text = as_text(capsys)
    assert "running" in text
    assert "another account" in text
    assert [record.stage for record in records_of(journal)] == ["created", "created"]


def test_reconcile_forgets_what_never_was_and_what_is_gone_if_told_so(
    quick_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, stray = tmp_path / "journal.sqlite3", f"autobatcher-{'1' * 32}.jsonl"
    write_record(journal, quick_upstream, "1" * 32)
    write_record(journal, quick_upstream, "2" * 32, stage="creating")
    write_record(journal, quick_upstream, "3" * 32, stage="created", batch_id="batch_gone")
    upload(quick_upstream, stray, b"{}\n")
    assert stray in input_files(quick_upstream)
    flags = ("--journal", str(journal), *to(quick_upstream))
    assert main(["reconcile", "--json", *flags]) == 0
    assert [row["found"] for row in as_json(capsys)] == ["forgotten", "forgotten", "gone"]
    assert stray not in input_files(quick_upstream)
    assert [record.batch_id for record in records_of(journal)] == ["batch_gone"]
    assert main(["reconcile", "--forget-gone", *flags]) == 0
    assert records_of(journal) == []


def test_a_journal_without_bodies_is_reconciled_and_says_that_it_has_none(
    quick_upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    left_by_a_killed_program(quick_upstream, journal, 1, "hash", submitted=1)
    assert main(["reconcile", "--journal", str(journal), *to(quick_upstream)]) == 0
    assert "a rerun reads them" in as_text(capsys)
    (record,) = records_of(journal)
    assert (record.stage, record.lines) == ("ended", 1)
    assert main(["results", "--journal", str(journal), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["request"] is None
    assert "journal_hash_only" in err


# ---- forget ----


def test_forget_keeps_what_may_still_run_unless_forced(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", "--all", "--journal", str(unfinished)]) == 1
    assert as_text(capsys).count("was kept") == 2
    assert len(records_of(unfinished)) == 2
    assert main(["forget", "--all", "--force", "--journal", str(unfinished)]) == 0
    assert "2 batches and 0 answers forgotten" in as_text(capsys)
    assert records_of(unfinished) == []
    assert b"question" not in b"".join(part.read_bytes() for part in unfinished.parent.iterdir())


def test_forget_what_was_taken_what_is_old_and_what_is_named(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--journal", str(finished), "--json")
    assert main(["forget", "--older-than", "3600", *flags]) == 0
    assert as_json(capsys) == [{"answers": 0, "forgotten": [], "kept": []}]
    first = records_of(finished)[0]
    assert main(["forget", str(first.batch_id), *flags]) == 0
    assert as_json(capsys) == [{"answers": 1, "forgotten": [first.batch_id], "kept": []}]
    assert main(["forget", "--taken", *flags]) == 0
    assert as_json(capsys) == [{"answers": 1, "forgotten": [], "kept": []}]
    assert records_of(finished) == []


# ---- what all have in common ----


def flags_of(command: str) -> tuple[str, ...]:
    upstream = () if command in ("results", "forget", "receipt") else to("http://127.0.0.1:9/v1")
    return (command, *upstream, *(("--all",) if command in ("cancel", "forget") else ()))


@pytest.mark.parametrize("command", [*COMMANDS, "receipt"])
def test_a_file_that_is_no_journal_is_one_line_and_stays_as_it_is(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("This is no database at all.\n" * 100)
    for name, version in (("foreign", 0), ("later", 99)):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute("CREATE TABLE batches_of_bread (flour)")
            connection.execute(f"PRAGMA user_version = {version}")
    before = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    said = {"text": "not a database", "foreign": "no journal", "later": "update it", "absent": "Check the path"}
    said |= {".": "Is a directory. Give the path of a file in it", "text/absent": "in a directory that exists"}
    for name, words in said.items():
        assert main([*flags_of(command), "--journal", str(tmp_path / name)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert words in told.err
    assert {part.name: part.read_bytes() for part in tmp_path.iterdir()} == before


@pytest.mark.parametrize("command", ["reconcile", "forget"])
def test_a_journal_in_use_is_refused_by_who_writes(
    command: str, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.engine.journal.ownership.PATIENCE_SECONDS", 0.0)
    ownership = Ownership(finished)
    try:
        assert main([*flags_of(command), "--journal", str(finished)]) == 2
    finally:
        ownership.release()
    assert "in use" in as_text(capsys)
    assert len(records_of(finished)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "--journal is missing"),
        (["results"], "--journal is missing"),
        (["reconcile"], "--journal is missing"),
        (["forget", "--all"], "--journal is missing"),
        (["forget", "--journal", "x"], "forget what?"),
        (["forget", "--all", "--taken", "--journal", "x"], "forget what?"),
        (["cancel"], "which batches?"),
        (["cancel", "--all", "batch_1"], "which batches?"),
        (["cancel", "--all"], "--journal is missing"),
        (["cancel", "batch_1"], "OPENAI_API_KEY"),
        (["watch", "--interval", "0"], "--interval"),
        (["status", "--upstream", "--api-key", "k", "--provider", "nobody"], "provider"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert said in told.err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.count(f"autobatcher {command} ") >= 3
    assert "AUTOBATCHER_JOURNAL" in told
