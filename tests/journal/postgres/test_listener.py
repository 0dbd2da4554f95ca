"""What sessions announce to one another."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from autobatcher.engine.journal.postgres.listener import Listener
from autobatcher.engine.journal.postgres.store import PostgresStore
from tests.journal.postgres.stores import Stores, an_answer, digest, do, write_batch

pytestmark = pytest.mark.real_time

News = queue.Queue[str]


@pytest.fixture
def news(stores: Stores) -> Iterator[News]:
    found: News = queue.Queue()
    listener = Listener(stores.url, found.put)
    assert found.get(timeout=10) == ""
    yield found
    listener.close()
    listener.close()
    assert not listener._thread.is_alive()


def test_answers_are_announced_once_per_batch_and_only_for_others(stores: Stores, news: News) -> None:
    one, two = stores.open(), stores.open()
    for key in ("mine", "one"):
        write_batch(one, key, [b"%d" % number for number in range(6)])
    do(one, PostgresStore.answer, [an_answer("mine", number) for number in range(6)], now=1.0)
    do(one, PostgresStore.delivered, "mine", range(6))
    do(one, PostgresStore.free, [("one", number) for number in range(5)])
    do(two, PostgresStore.claim, [digest(b"%d" % number) for number in range(4)])
    with one.transaction():
        for number in (0, 1, 5):
            one.answer([an_answer("one", number, is_taken=False)], now=1.0)
    assert news.get(timeout=10) == "one"
    do(one, PostgresStore.answer, [an_answer("one", 4, is_taken=False)], now=1.0)  # for nobody
    do(one, PostgresStore.drop, "one", 2)
    assert news.get(timeout=10) == "one"
    do(one, PostgresStore.release_all)
    assert news.get(timeout=10) == ""
    do(two, PostgresStore.adopt, [b"x"])
    assert news.get(timeout=10) == "one"  # for the first session it was read to the end
    do(one, PostgresStore.claim, [digest(b"4")])
    do(two, PostgresStore.forget, "one")
    assert news.get(timeout=10) == "one"
    assert news.empty()


def test_a_listener_that_was_cut_says_what_it_may_have_missed(stores: Stores, news: News) -> None:
    store = stores.open()
    store._rows("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
    assert news.get(timeout=10) == ""  # something may have been missed
    do(store, PostgresStore.release_all)
    assert news.get(timeout=10) == ""
