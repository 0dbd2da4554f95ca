"""A journal statement that fails affects no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal.store import Store, UnknownBatchError
from autobatcher.engine.journal.transactions import Job, Transactions
from tests.journal.records import a_record


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800"])
def test_a_statement_that_fails_by_itself_spoils_no_other(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "journal"
    with closing(OwnedFile(path)) as store:
        field = "completed" if isinstance(value, int) else "status"
        jobs = [
            Job(lambda store: store.intend(a_record("one"), [(0, "/v1/embeddings", b"{}")], is_hash_only=False)),
            Job(lambda store: store.update("one", now=1.0, **{field: value})),
            Job(lambda store: store.update("one", now=2.0, stage="created"), is_awaited=True),
        ]
        doing = Transactions(store)
        doing.do(jobs)
        assert [job.failure is None for job in jobs] == [True, False, True]
        assert [(record.stage, record.completed) for record in store.batches()] == [("created", 0)]
        later = Job(lambda store: len(store.batches()), is_awaited=True)
        doing.do([later])
        assert later.result == 1


def test_an_answer_that_cannot_be_stored_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(OwnedFile(path)) as store:
        lines = [(number, "/v1/embeddings", b"{}") for number in range(3)]
        with store.transaction():
            store.intend(a_record("one"), lines, is_hash_only=False)
            store.answer(
                [
                    ("one", 0, 200, b"a", None, True),
                    ("one", 1, 2**64, b"b", None, True),
                    ("no", 0, 200, b"", None, True),
                ],
                now=1.0,
            )
            store.answer([("one", 2, 200, b"c", None, True)], now=1.0)
        assert [result.answer for result in store.results("one")] == [b"a", None, b"c"]


def test_what_belongs_to_no_batch_is_refused_and_not_given_to_another(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "journal")) as store, store.transaction():
        with pytest.raises(UnknownBatchError):
            store.mark_taken("never written", 0)
        with pytest.raises(UnknownBatchError):
            store.give_back("never written", 0)
        store.drop("never written", 0)  # unknown batch: nothing to do
        store.forget("never written")
        store.end("never written", now=1.0, keeps_unanswered=False)


def test_what_could_not_be_written_is_written_with_what_comes_next(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    is_full = True

    def intend(store: Store) -> None:
        if is_full:
            raise sqlite3.OperationalError("database or disk is full")
        store.intend(a_record("one"), [], is_hash_only=False)

    with closing(OwnedFile(path)) as store:
        doing = Transactions(store)
        told, asked = Job(intend), Job(lambda store: len(store.batches()), is_awaited=True)
        doing.do([told, asked])
        assert asked.failure is not None
        assert "disk is full" in asked.failure.message
        is_full = False
        again = Job(lambda store: len(store.batches()), is_awaited=True)
        doing.do([again])
        assert again.result == 1


def test_a_statement_that_takes_a_lock_is_the_first_of_its_transaction(tmp_path: Path) -> None:
    with closing(OwnedFile(tmp_path / "journal")) as store:
        begun: list[int] = []
        transaction = store.transaction

        def counted() -> Any:
            begun.append(0)
            return transaction()

        store.transaction = counted  # type: ignore[method-assign]
        jobs = [
            Job(lambda store: len(begun), is_awaited=True, goes_first=first) for first in (False, True, False, True)
        ]
        Transactions(store).do(jobs)
        assert [job.result for job in jobs] == [1, 2, 2, 2]


def test_that_it_cannot_be_written_and_that_it_can_again_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    is_full = True

    def ask(store: Store) -> None:
        if is_full:
            raise sqlite3.OperationalError("database or disk is full")

    with closing(OwnedFile(tmp_path / "journal")) as store:
        doing = Transactions(store)
        for _ in range(3):
            doing.do([Job(ask, is_awaited=True)])  # refused, so that nothing waits
        doing.do([])  # as at the close: it writes nothing, and so tells nothing
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        is_full = False
        for _ in range(2):
            doing.do([Job(ask, is_awaited=True)])
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
