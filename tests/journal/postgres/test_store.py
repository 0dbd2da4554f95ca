"""The statements of one engine."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.journal.postgres.stores import Stores, an_answer, digest, do, write_batch
from tests.journal.records import a_record

pytestmark = pytest.mark.real_time

SORT = Sort("openai", "http://upstream.test/v1", "m\0", "/v1/embeddings", "batch", "24h", Fate.DELIVERED)


def test_a_batch_is_read_as_it_was_written(stores: Stores) -> None:
    store = stores.open()
    write_batch(store, "one", [b'{"a":1}', b"\0\xff" * 1000, b'{"c":1}'], metadata={"team": "\0\ud800"})
    do(store, PostgresStore.answer, [an_answer("one", 1, b"\0" * 5000), an_answer("one", 2)], now=2.0)
    (record,) = store.batches()
    assert (record.stage, record.batch_id, record.metadata) == ("created", "batch_one", {"team": "\0\ud800"})
    assert (record.lines, record.answered, record.taken, record.is_hash_only) == (3, 2, 2, False)
    assert record.refused == 0
    results = list(store.results("one"))
    assert [(each.number, each.body, each.answer, each.is_taken) for each in results] == [
        (0, b'{"a":1}', None, False),
        (1, b"\0\xff" * 1000, b"\0" * 5000, True),
        (2, b'{"c":1}', b"{}", True),
    ]
    found = store.answers([("one", 2), ("one", 0), ("no", 0)])
    assert [None if each is None else (each.number, each.batch_id, each.body) for each in found] == [
        (2, "batch_one", b"{}"),
        None,
        None,
    ]
    do(store, PostgresStore.answer, [("one", 0, 422, b"{}", None, True)], now=2.0)
    assert [(each.answered, each.refused) for each in store.batches()] == [(3, 1)]


def test_what_is_delivered_or_ended_is_gone_with_its_batch(stores: Stores) -> None:
    store = stores.open()
    write_batch(store, "one", [b"1", b"2", b"3"])
    do(store, PostgresStore.answer, [an_answer("one", 0), an_answer("one", 1)], now=2.0)
    do(store, PostgresStore.end, "one", now=3.0, keeps_unanswered=False)
    assert [each.number for each in store.results("one")] == [0, 1]
    do(store, PostgresStore.delivered, "one", [0])
    assert [each.number for each in store.results("one")] == [1]
    do(store, PostgresStore.delivered, "one", [1])
    assert store.batches() == []
    assert store._rows("SELECT 1 FROM answers") == []


def test_an_answer_that_cannot_be_stored_leaves_the_others(stores: Stores) -> None:
    store = stores.open()
    write_batch(store, "one", [b"1", b"2", b"3"])
    answers = [an_answer("one", 0, b"a"), ("one", 1, 2**64, b"b", None, True), an_answer("no", 0), an_answer("one", 7)]
    do(store, PostgresStore.answer, [*answers, ("one", 2, 200, b"c", "\0\ud800", True)], now=1.0)
    assert [result.answer for result in store.results("one")] == [b"a", None, b"c"]
    assert len(store._rows("SELECT 1 FROM answers")) == 2  # none without a line


@pytest.mark.parametrize("value", [2**63, "\ud800", "\0"])
def test_a_statement_that_fails_by_itself_spoils_no_other(stores: Stores, value: int | str) -> None:
    store = stores.open()
    field = {"completed" if isinstance(value, int) else "status": value}
    with store.transaction():
        with store.savepoint():
            store.intend(a_record("one"), [(0, "/v1/embeddings", b"{}")], is_hash_only=False)
        with pytest.raises((psycopg.DataError, UnicodeEncodeError)), store.savepoint():
            store.update("one", now=1.0, **field)
        with store.savepoint():
            store.update("one", now=2.0, stage="created")
    assert [(record.stage, record.completed) for record in store.batches()] == [("created", 0)]


def test_charges_and_reservations_are_kept_exactly(stores: Stores) -> None:
    store = stores.open()
    with store.transaction():
        reserved = Decimal("0.00000000000000000000000001")
        store.intend(a_record("one"), [(0, "/v1/embeddings", b"")], is_hash_only=False, budget="b", reserved=reserved)
    assert store.spent(0.0, "b").reserved == {"one": reserved}
    charge = Charge(SORT, Usage(3, 1, 2, 0), "batch_1")
    for number in (0, None):
        do(
            store,
            PostgresStore.answer,
            [an_answer("one", 0)],
            [NewCharge("one", charge, number)],
            now=3600.0,
            budget="",
        )
    (kept,) = store.charges()
    assert (kept.hour, kept.budget, kept.entry.requests, kept.entry.usage) == (1, "b", 2, Usage(6, 2, 4, 0))
    assert kept.sort == SORT._replace(model="m�")
    ((account, hour, _),) = store.spent(0.0, "b").charges
    assert (account, hour) == (b"x", 1)
    do(store, PostgresStore.end, "one", now=3.0, keeps_unanswered=False)
    assert store.spent(0.0, "b").reserved == {}
    assert store.spent(7200.0, "b").charges == {}


def test_what_is_too_old_is_forgotten(stores: Stores) -> None:
    store = stores.open()
    write_batch(store, "old", [b"1"], changed_at=5.0)
    write_batch(store, "unread", [b"2"])
    do(store, PostgresStore.answer, [an_answer("old", 0)], now=10.0)
    do(store, PostgresStore.end, "old", now=10.0, keeps_unanswered=False)
    assert not do(store, PostgresStore.forget_old, now=11.0, retention_seconds=2.0)
    assert [record.idempotency_key for record in store.batches()] == ["old", "unread"]
    assert not do(store, PostgresStore.forget_old, now=13.0, retention_seconds=2.0)
    assert [record.idempotency_key for record in store.batches()] == ["unread"]
    do(store, PostgresStore.forget_old, now=32 * 86_400.0, retention_seconds=2.0)
    assert store.batches() == []
    assert do(store, PostgresStore.claim, [digest(b"1"), digest(b"2")]) == [None, None]
