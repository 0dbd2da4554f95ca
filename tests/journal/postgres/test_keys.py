"""Idempotency keys in a journal that several engines share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from autobatcher.engine.journal.postgres.shared import Claimed, Held, KeyOutcome, Reused, WantedKey
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.engine.journal.records import StoredAnswer
from tests.journal.postgres.stores import ENDPOINT, Stores, an_answer, close, digest, do
from tests.journal.records import a_record

pytestmark = pytest.mark.real_time


def claim(store: PostgresStore, key: bytes, body: bytes = b"a", *, is_ours: bool = False) -> KeyOutcome:
    (outcome,) = do(store, PostgresStore.claim_keys, [WantedKey(key, digest(body), is_ours)], now=1.0)
    return outcome


def send(store: PostgresStore, batch: str, key: bytes, body: bytes = b"a") -> None:
    with store.transaction():
        store.intend(a_record(batch), [(0, ENDPOINT, body)], is_hash_only=False, keys={0: key})
        store.update(batch, now=1.0, stage="created", batch_id=f"batch_{batch}")


def keys(store: PostgresStore) -> set[bytes]:
    return {key for (key,) in do(store, lambda store: store._rows("SELECT key FROM keys"))}


def test_one_of_many_who_ask_at_once_has_a_key(stores: Stores) -> None:
    sessions = [stores.open() for _ in range(4)]
    ready = threading.Barrier(4)

    def ask(store: PostgresStore) -> list[KeyOutcome]:
        ready.wait()
        wanted = [WantedKey(b"%d" % number, digest(b"a"), False) for number in range(50)]
        return do(store, PostgresStore.claim_keys, wanted, now=1.0)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, sessions))
    for outcomes in zip(*found, strict=True):
        assert sorted(map(repr, outcomes)) == ["Held()", "Held()", "Held()", "None"]


def test_a_line_of_a_key_is_claimed_with_it_alone(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    assert claim(one, b"k") is None
    assert isinstance(claim(one, b"k"), Held)
    assert claim(one, b"k", is_ours=True) is None
    send(one, "batch", b"k")
    assert isinstance(claim(two, b"k"), Held)
    assert isinstance(claim(two, b"k", b"b"), Reused)
    do(one, PostgresStore.free, [("batch", 0)])
    assert do(two, PostgresStore.claim, [digest(b"a")]) == [None]
    assert isinstance(claim(two, b"k"), Claimed)
    assert isinstance(claim(one, b"k"), Held)
    do(one, PostgresStore.answer, [an_answer("batch", 0, b"{}", is_taken=False)], now=5.0)
    for store in (one, two, one):
        assert isinstance(claim(store, b"k"), StoredAnswer)
    assert do(one, PostgresStore.retake, [digest(b"a")], since=0.0) == [None]


def test_a_request_that_goes_on_without_its_line_keeps_its_key(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    claim(one, b"k")
    for batch, leave, options in (
        ("dropped", PostgresStore.drop, {"number": 0}),
        ("forgotten", PostgresStore.forget, {}),
        ("ended", PostgresStore.end, {"now": 1.0, "keeps_unanswered": False}),
    ):
        send(one, batch, b"k")
        do(one, leave, batch, **options)
        assert isinstance(claim(two, b"k"), Held)
    do(one, PostgresStore.release_key, b"k")
    assert claim(two, b"k", b"other") is None


def test_a_key_is_held_while_the_batch_of_its_line_may_still_be_created(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    claim(one, b"k")
    with one.transaction():
        one.intend(a_record("batch"), [(0, ENDPOINT, b"a")], is_hash_only=False, keys={0: b"k"})
    close(one)
    assert isinstance(claim(two, b"k"), Held)
    assert do(two, PostgresStore.adopt, [a_record("batch").account])
    do(two, PostgresStore.forget, "batch")
    assert claim(two, b"k") is None


def test_keys_go_with_their_answers_and_those_of_dead_sessions_are_free(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    for key in (b"answered", b"queued"):
        claim(one, key)
    send(one, "batch", b"answered")
    do(one, PostgresStore.answer, [an_answer("batch", 0)], now=5.0)
    do(two, PostgresStore.forget_old, now=50.0, retention_seconds=100.0)
    assert keys(two) == {b"answered", b"queued"}
    do(two, PostgresStore.forget_old, now=500.0, retention_seconds=100.0)
    assert keys(two) == {b"queued"}
    close(one)
    assert claim(two, b"queued") is None
    do(two, PostgresStore.release_key, b"queued")
    claim(three := stores.open(), b"left")
    close(three)
    do(two, PostgresStore.sweep_sessions, now=600.0)
    assert keys(two) == set()
