"""The commands on a journal on PostgreSQL, which engines use meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from autobatcher.cli import main
from autobatcher.cli.reconcile import RUNS
from autobatcher.engine.journal import BatchRecord
from autobatcher.engine.journal.file import migrate_journal
from autobatcher.engine.journal.identity import fingerprint
from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal_url import JournalUrl
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import profile_for
from tests.cli.asker import KEY
from tests.cli.processes import emulator, environment, find_url, read_until, run_here, started
from tests.postgres_server import PASSWORD, PostgresServer

psycopg_store = pytest.importorskip("autobatcher.engine.journal.postgres.store", exc_type=ImportError)

pytestmark = pytest.mark.real_time

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "What?"}]}'
ANSWER = b'{"choices": [{"message": {"content": "That."}}]}'


@pytest.fixture
def journal(postgres_url: str) -> str:
    assert migrate_journal(JournalUrl(postgres_url))
    return postgres_url


@contextmanager
def engine(journal: str, *keys: str, url: str = "") -> Iterator[None]:
    """An engine that lives, with a batch for each key: one of its two lines was answered."""
    with closing(psycopg_store.PostgresStore(journal)) as store:
        with store.transaction():
            store.begin_session("process", now=time.time(), url=url)
            for key in keys:
                store.intend(record(key), [(0, "/v1/chat/completions", BODY)] * 1, is_hash_only=False)
                store.update(key, now=time.time(), stage="created", batch_id=f"batch_{key}", status="in_progress")
                store.answer([(key, 0, 200, ANSWER, "req", False)], now=time.time())
        yield


def record(key: str) -> BatchRecord:
    return BatchRecord(
        idempotency_key=key,
        account=b"account",
        base_url="http://upstream.test/v1",
        provider="openai",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        models=["m"],
        metadata={},
        request_count=1,
        created_at=time.time(),
    )


def rows_of(kind: str, output: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, output.splitlines()) if row["kind"] == kind]


def told(capfd: pytest.CaptureFixture[str]) -> str:
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err
    return said.out + said.err


def test_commands_read_a_journal_that_engines_use(
    journal: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOBATCHER_JOURNAL", journal)
    with engine(journal, "a", "b"):
        assert main(["status", "--json"]) == 0
        assert [row["batch_id"] for row in rows_of("batch", told(capfd))] == ["batch_a", "batch_b"]
        assert main(["results", "batch_b", "--json"]) == 0
        assert json.loads(told(capfd))["answer"] == json.loads(ANSWER)
        assert main(["receipt"]) == 0
        told(capfd)
        assert main(["status"]) == 0
        assert "batch_a" in told(capfd)
        assert main(["results", "nothing"]) == 2
        assert "there is no batch nothing in the journal postgresql://" in told(capfd)


def test_status_says_which_engine_runs_a_batch_in_80_columns(journal: str, capfd: pytest.CaptureFixture[str]) -> None:
    with engine(journal, "dead"):
        pass
    with engine(journal, "a", url="http://a-machine-with-a-long-name.internal.example.com:8080/"), engine(journal):
        assert main(["status", "--json", "--journal", journal]) == 0
        output = told(capfd)
        assert main(["status", "--journal", journal]) == 0
        lines = told(capfd).splitlines()
    engines = rows_of("engine", output)
    assert [(each["is_alive"], each["batches"], each["pid"]) for each in engines] == [
        (False, 1, os.getpid()),
        (True, 1, os.getpid()),
        (True, 0, os.getpid()),
    ]
    named = ("number", "host", "pid", "url", "is_alive")
    whose = {row["batch_id"]: row["engine"] for row in rows_of("batch", output)}
    assert whose == {
        "batch_dead": {name: engines[0][name] for name in named},
        "batch_a": {name: engines[1][name] for name in named},
    }
    assert max(map(len, lines)) <= 80, lines
    assert any(line.startswith("batch_dead") and f" {engines[0]['number']} gone " in line for line in lines)
    assert any(line.startswith("batch_a") and f" {engines[1]['number']} " in line for line in lines)
    assert any("No engine runs 1 of them" in line for line in lines)
    assert [line.split()[1:3] for line in lines[-3:]] == [
        ["gone", str(os.getpid())],
        *[["lives", str(os.getpid())]] * 2,
    ]
    assert lines[-2].endswith(":8080")


@pytest.mark.proves("faults", "`autobatcher cancel` on a shared journal, while an engine is about to create the batch")
def test_cancel_says_what_a_living_engine_may_still_create(journal: str, capfd: pytest.CaptureFixture[str]) -> None:
    def cancelled(*names: str) -> tuple[int, list[Any]]:
        flags = ("--journal", journal, "--base-url", upstream, "--api-key", KEY, "--json")
        code = main(["cancel", *names, *flags])
        return code, [json.loads(line)["what_happened"] for line in told(capfd).splitlines()]

    with emulator("--batch-seconds", "0.5") as upstream:
        account = fingerprint(Account(base_url=upstream, api_key=KEY, provider=profile_for(upstream)))
        with closing(psycopg_store.PostgresStore(journal)) as store:
            with store.transaction():
                store.begin_session("process", now=time.time())
                store.intend(msgspec.structs.replace(record("soon"), account=account), [], is_hash_only=False)
            number = store.session
            for names in (["soon"], ["--all"]):
                assert cancelled(*names) == (1, [f"not cancelled: engine {number} may create it; try again"])
        assert cancelled("soon") == (0, ["was not created yet: nothing to cancel"])
        assert cancelled("--all") == (0, [])


def test_a_batch_that_an_engine_runs_is_cancelled_and_the_engine_sees_it(
    journal: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with emulator("--batch-seconds", "100") as upstream:
        ask = [sys.executable, "-m", "tests.cli.asker", upstream, journal, "1", "fails"]  # it polls often
        with subprocess.Popen(ask, env=environment(), stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: is_created(journal, capfd))
            flags = ("--journal", journal, "--base-url", upstream, "--api-key", KEY, "--json")
            assert main(["cancel", "--all", *flags]) == 0
            found = json.loads(told(capfd))
            assert found["what_happened"] == f"cancelled: engine {found['engine']['number']} reads what already ran"
            assert (found["engine"]["pid"], found["engine"]["is_alive"]) == (process.pid, True)
            assert main(["watch", "--interval", "0.1", *flags]) == 0
            assert all(row["engine"]["pid"] == process.pid for row in rows_of("batch", told(capfd)) if row["engine"])
            _, said = process.communicate(timeout=30)
        assert "BatchEndedError" in said


def test_a_proxy_whose_journal_is_away_or_in_use_at_its_start_ends_so_that_a_supervisor_starts_it_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    arguments = ("serve", "--port", "0", "--no-check", "--base-url", "http://127.0.0.1:9/v1", "--api-key", KEY)
    assert run_here(*arguments, "--journal", f"postgresql://nobody@127.0.0.1:{port}/none") == 1
    assert "refused" in capfd.readouterr().err
    with closing(OwnedFile(tmp_path / "journal")):
        assert run_here(*arguments, "--journal", str(tmp_path / "journal")) == 1
    assert "in use" in capfd.readouterr().err
    assert run_here(*arguments, "--journal", "/dev/null") == 2


def test_a_proxy_tells_the_others_where_it_listens(journal: str, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        emulator() as upstream,
        started("serve", "--port", "0", "--journal", journal, "--base-url", upstream, "--api-key", KEY) as process,
    ):
        address = find_url(read_until(process, "stderr", "autobatcher serve: http")).removesuffix("v1")
        (only,) = httpx.get(f"{address}status", timeout=10).json()["fleet"]["engines"]
        assert (only["url"], only["pid"], only["host"]) == (address, process.pid, socket.gethostname())
        assert main(["status", "--json", "--journal", journal]) == 0
        (row,) = rows_of("engine", told(capfd))
        assert (row["url"], row["pid"]) == (address, process.pid)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert PASSWORD not in out + err


def test_forget_keeps_what_an_engine_runs(journal: str, capfd: pytest.CaptureFixture[str]) -> None:
    with engine(journal, "dead"):
        pass
    with engine(journal, "a"):
        command = ["forget", "--all", "--force", "--json", "--journal", journal]
        assert main(command) == 1
        assert json.loads(told(capfd)) == {"answers": 1, "forgotten": ["batch_dead"], "kept": ["batch_a"]}
        assert main(["forget", "batch_a", "--force", *command[-2:]]) == 1
        assert "batch_a was kept: an engine runs it." in told(capfd)
    assert main(command) == 0
    assert json.loads(told(capfd)) == {"answers": 1, "forgotten": ["batch_a"], "kept": []}


def test_reconcile_reads_what_no_engine_runs(journal: str, capfd: pytest.CaptureFixture[str]) -> None:
    def reconciled(upstream: str) -> dict[str, Any]:
        flags = ("--journal", journal, "--base-url", upstream, "--api-key", KEY)
        assert main(["reconcile", "--json", *flags]) == 0
        found: dict[str, Any] = json.loads(told(capfd))
        return found

    with emulator("--batch-seconds", "0.5") as upstream:
        ask = [sys.executable, "-m", "tests.cli.asker", upstream, journal, "1"]  # it polls after a quarter of an hour
        with subprocess.Popen(ask, env=environment()) as process:
            try:
                wait_until(lambda: is_created(journal, capfd))
                found = reconciled(upstream)
                assert found["found"] == "running"
                assert found["reason"].endswith(f"(process {process.pid} on {socket.gethostname()}) {RUNS}")
            finally:
                process.kill()
        wait_until(lambda: reconciled(upstream)["found"] == "read")
        assert main(["results", "--json", "--journal", journal]) == 0
        assert json.loads(told(capfd))["answer"]["object"] == "chat.completion"
        subprocess.run(ask, env=environment(), check=True, timeout=30)  # it gets the answer that is there
        assert len(httpx.get(f"{upstream}/batches", timeout=10).json()["data"]) == 1


def is_created(journal: str, capfd: pytest.CaptureFixture[str]) -> bool:
    assert main(["status", "--json", "--journal", journal]) == 0
    return '"batch_id": "batch' in told(capfd)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not become so")


def test_check_says_who_uses_the_journal_and_changes_nothing(
    postgres: PostgresServer, postgres_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["journal", "check", postgres_url]) == 1
    assert "not made yet" in told(capfd)
    assert main(["journal", "check", postgres_url, "--json"]) == 1
    assert json.loads(told(capfd))["version"] == 0
    assert main(["journal", "migrate", postgres_url]) == 0
    assert told(capfd) == "The journal was migrated.\n"
    assert main(["journal", "migrate", postgres_url]) == 0
    assert told(capfd) == "The journal is up to date.\n"
    with engine(postgres_url, "dead"):
        pass
    with engine(postgres_url, "a"):
        assert main(["journal", "check", postgres_url, "--json"]) == 0
        found = json.loads(told(capfd))
        assert main(["journal", "check", postgres_url]) == 0
        assert "1 live, 1 gone" in told(capfd)
    assert [(each["is_alive"], each["batches"]) for each in found["sessions"]] == [(False, 1), (True, 1)]
    assert (found["is_usable"], found["missing"], found["fault"]) == (True, [], None)
    assert {"batches", "lines", "answers"} <= {each["name"] for each in found["tables"] if each["bytes"] > 0}


def test_engines_need_no_right_to_create_and_check_names_what_they_lack(
    postgres: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """The statements are those of docs/scale.md."""
    schema, admin, user = postgres.new_name(), postgres.new_name(), postgres.new_name()
    postgres.execute(f"CREATE ROLE {admin} LOGIN; CREATE ROLE {user} LOGIN")
    for_admin, for_user = postgres.url(schema, user=admin), postgres.url(schema, user=user)
    assert main(["journal", "migrate", for_user]) == 2
    assert "permission denied" in told(capfd)
    assert main(["journal", "check", for_user, "--json"]) == 1
    assert json.loads(told(capfd))["missing"] == ["CREATE ON DATABASE postgres"]

    postgres.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {admin}")
    assert main(["journal", "migrate", for_admin]) == 0
    told(capfd)
    assert main(["journal", "check", for_user, "--json"]) == 1
    found = json.loads(told(capfd))
    assert (found["version"], found["missing"][0]) == (None, f"USAGE ON SCHEMA {schema}")

    postgres.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    postgres.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
    postgres.execute(f"REVOKE DELETE ON {schema}.lines FROM {user}")
    assert main(["journal", "check", for_user]) == 1
    assert f"{user} lacks DELETE ON {schema}.lines" in told(capfd)

    postgres.execute(f"GRANT DELETE ON {schema}.lines TO {user}")
    assert main(["journal", "check", for_user]) == 0
    assert main(["journal", "migrate", for_user]) == 0
    with engine(for_user, "a"):
        assert main(["status", "--journal", for_user]) == 0
    assert main(["forget", "--all", "--force", "--journal", for_user]) == 0
    told(capfd)


def test_a_file_is_none_to_migrate(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "migrate", "journal.sqlite3"]) == 2
    assert "journal.sqlite3 is a file, which is migrated when it is opened." in told(capfd)
