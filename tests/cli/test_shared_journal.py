"""The commands on a journal on PostgreSQL, which engines use meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from autobatcher.cli import main
from autobatcher.cli.reconcile import RUN
from autobatcher.engine.journal import BatchRecord
from autobatcher.engine.journal.file import migrate_journal
from autobatcher.engine.journal_url import JournalUrl
from tests.cli.asker import KEY
from tests.cli.processes import emulator, environment
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
def engine(url: str, *keys: str) -> Iterator[None]:
    """An engine that lives, with a batch for each key: one of its two lines was answered."""
    with closing(psycopg_store.PostgresStore(url)) as store:
        with store.transaction():
            store.begin_session("process", now=time.time())
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
        assert [json.loads(line)["batch_id"] for line in told(capfd).splitlines()] == ["batch_a", "batch_b"]
        assert main(["results", "batch_b", "--json"]) == 0
        assert json.loads(told(capfd))["answer"] == json.loads(ANSWER)
        assert main(["receipt"]) == 0
        told(capfd)
        assert main(["status"]) == 0
        assert "batch_a" in told(capfd)
        assert main(["results", "nothing"]) == 2
        assert "there is no batch nothing in the journal postgresql://" in told(capfd)


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
                assert (found["found"], found["reason"]) == ("running", RUN)
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
