"""Batches that change hands: each is run by one engine."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.failures import NotOurBatchError
from autobatcher.engine.journal.health import WaitingAccount
from autobatcher.engine.journal.postgres.shared import Adopted, Lost
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.journal.postgres.stores import Stores, an_answer, close, cut, digest, do, write_batch

pytestmark = pytest.mark.real_time

CHARGE = Charge(
    Sort("openai", "http://upstream.test/v1", "m", "/v1/embeddings", "batch", "24h", Fate.DELIVERED),
    Usage(1, 0, 1, 0),
    "batch_1",
)


def adopt(store: PostgresStore) -> list[Adopted]:
    return do(store, PostgresStore.adopt, [b"x"])


def test_the_batches_of_a_session_that_is_gone_are_adopted_with_their_lines(stores: Stores) -> None:
    one, two, three = (stores.open() for _ in range(3))
    write_batch(one, "one", [b"a", b"b", b"c"])
    write_batch(one, "call", [b"x"], stage="calling", completion_window="flex")
    write_batch(one, "other", [b"x"], account=b"y")
    do(one, PostgresStore.free, [("one", 1)])
    do(three, PostgresStore.claim, [digest(b"b")])
    do(one, PostgresStore.answer, [an_answer("one", 2)], now=2.0)
    assert adopt(two) == []
    close(one)
    assert two.waiting_accounts() == [
        WaitingAccount(b"x", "http://upstream.test/v1", "openai", 1),
        WaitingAccount(b"y", "http://upstream.test/v1", "openai", 1),
    ]
    (adopted,) = adopt(two)
    assert (adopted.record.idempotency_key, adopted.record.answered) == ("one", 1)
    assert [(code, line.number, waiter) for code, line, waiter in adopted.lines] == [
        (digest(b"a"), 0, None),
        (digest(b"b"), 1, three.session),
    ]
    assert adopt(three) == []
    do(two, PostgresStore.update, "one", now=3.0, stage="creating", file_id="file")
    (account,) = two.waiting_accounts()
    assert account.account == b"y"


def test_what_a_session_releases_is_adopted_while_it_lives(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"b", b"c"])
    do(one, PostgresStore.answer, [an_answer("one", 0), an_answer("one", 1)], now=2.0)
    do(one, PostgresStore.free, [("one", 1)])  # the answer was given to nobody
    do(one, PostgresStore.release_all)
    (adopted,) = adopt(two)
    assert [line.number for _, line, _ in adopted.lines] == [2]
    claimed = do(two, PostgresStore.claim, [digest(body) for body in (b"a", b"b", b"c")])
    assert [each and each.line.number for each in claimed] == [None, 1, 2]  # the first was delivered
    assert one.lost_batches(["one", "no"]) == {"one": Lost.ADOPTED, "no": Lost.FORGOTTEN}
    assert two.lost_batches(["one"]) == {}


def test_who_lost_its_session_creates_nothing_that_was_adopted(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "adopted", [b"a"], stage="intended")
    cut(one)
    (adopted,) = adopt(two)
    assert adopted.record.idempotency_key == "adopted"
    with pytest.raises(NotOurBatchError):
        do(one, PostgresStore.update, "adopted", now=2.0, stage="creating")
    assert one.losses == 1
    for change in (PostgresStore.forget, PostgresStore.booked_call):
        do(one, change, "adopted", **({"now": 3.0} if change is PostgresStore.booked_call else {}))
    do(one, PostgresStore.end, "adopted", now=3.0, keeps_unanswered=False)
    do(one, PostgresStore.update, "adopted", now=3.0, stage="created", batch_id="theirs")
    (record,) = two.batches()
    assert (record.stage, record.batch_id, record.status, record.lines) == ("intended", None, "", 1)
    assert one.lost_batches(["adopted"]) == {"adopted": Lost.ADOPTED}

    write_batch(two, "kept", [b"a"], stage="intended")
    cut(two)
    do(two, PostgresStore.update, "kept", now=2.0, stage="creating")
    assert two.lost_batches(["kept", "adopted"]) == {}


def test_an_answer_is_stored_and_booked_once_by_two_that_read_the_same_batch(stores: Stores) -> None:
    for round_ in range(5):
        one, two = stores.open(), stores.open()
        key = f"batch{round_}"
        write_batch(one, key, [b"%d" % number for number in range(200)])
        cut(one)
        assert len(adopt(two)) == 1
        barrier = threading.Barrier(2)

        def read(store: PostgresStore, key: str = key, barrier: threading.Barrier = barrier) -> None:
            order = range(200) if store.session and store.session % 2 else range(199, -1, -1)
            barrier.wait()
            for start in range(0, 200, 20):
                some = order[start : start + 20]
                with store.transaction():
                    store.answer(
                        [an_answer(key, number) for number in some],
                        [*(NewCharge(key, CHARGE, number) for number in some), NewCharge(key, CHARGE)],
                        now=1.0,
                    )
                    store.delivered(key, some[:5])  # in the same transaction

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(read, (one, two)))
        kept = [each for each in two.charges() if each.account == b"x"]
        assert sum(each.entry.requests for each in kept) == (round_ + 1) * 210  # ten without a line
        assert two._rows("SELECT 1 FROM answers a WHERE NOT EXISTS (SELECT 1 FROM lines l WHERE l.id = a.id)") == []


def test_three_that_adopt_at_once_get_each_batch_once_and_leave_none(stores: Stores) -> None:
    for round_ in range(3):
        dead = stores.open()
        keys = [f"{round_}-{number}" for number in range(30)]
        for key in keys:
            write_batch(dead, key, [b"a"])
        adopters = [stores.open() for _ in range(3)]
        barrier = threading.Barrier(4)
        cut(dead)

        def adopt_all(store: PostgresStore, barrier: threading.Barrier = barrier) -> list[str]:
            barrier.wait()
            return [each.record.idempotency_key for _ in range(3) for each in adopt(store)]

        def come_back(store: PostgresStore = dead, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            store.heartbeat()

        with ThreadPoolExecutor(4) as threads:
            coming = threads.submit(come_back)
            adopted = [key for each in threads.map(adopt_all, adopters) for key in each]
            coming.result()
        lost = dead.lost_batches(keys)
        assert Counter(key for key in adopted if key in keys) == Counter(list(lost))
        assert len(lost) in (0, 30)  # as a whole
        for store in (dead, *adopters):
            close(store)
        last = stores.open()
        assert len(adopt(last)) == 30 * (round_ + 1)
        do(last, PostgresStore.release_all)
