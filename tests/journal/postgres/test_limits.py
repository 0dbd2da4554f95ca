"""Limits that hold for all engines of a journal together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import msgspec

from autobatcher.engine.journal.cap_check import CapCheck, CapUse
from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.money.exact import ZERO
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.journal.postgres.stores import Stores, an_answer, close, cut, digest, do
from tests.journal.records import a_record

SORT = Sort("openai", "http://upstream.test/v1", "m", "/v1/embeddings", "batch", "24h", Fate.DELIVERED, 0)


def dollars(sort: Sort, usage: Usage) -> Decimal:
    return Decimal(usage.input)


def intend(store: PostgresStore, key: str, amount: str, *, account: bytes = b"x", budget: str = "b") -> None:
    record = msgspec.structs.replace(a_record(key), account=account, created_at=1.0)
    store.intend(record, [(0, "/v1/embeddings", b"{}")], is_hash_only=False, budget=budget, reserved=Decimal(amount))


def answer(store: PostgresStore, key: str, cost: int) -> None:
    charge = NewCharge(key, Charge(SORT, Usage(input=cost), "batch_1"), 0)
    do(store, PostgresStore.answer, [an_answer(key, 0)], [charge], budget="b", now=7_200.0)


def others(store: PostgresStore, *, since: float = 0.0, payer: bytes | None = None) -> tuple[str, str]:
    """What other sessions have spent and reserved."""
    check = CapCheck((), frozenset(), dollars, since)
    cost = check.cost_of(do(store, PostgresStore.others_spent, since, "b"))
    return str(cost.spent_since(since, payer)), str(cost.reserved(payer))


def test_what_others_reserve_counts_until_it_is_spent_and_never_twice(stores: Stores) -> None:
    one, other = stores.open(), stores.open()
    do(one, intend, "batch", "0.30")
    do(one, intend, "elsewhere", "9", budget="another")
    do(other, intend, "ours", "5", account=b"y")
    assert (others(one), others(other)) == (("0", "5"), ("0", "0.30"))
    do(one, intend, "large", "7")
    answer(one, "large", 3)
    assert others(other) == ("3", "4.30")
    assert others(other, payer=b"y") == ("0", "0")
    assert others(other, since=3 * 3_600.0) == ("0", "7.30")
    do(one, PostgresStore.end, "large", now=7_200.0, keeps_unanswered=False)
    assert others(other) == ("3", "0.30")
    do(one, PostgresStore.forget, "batch")
    assert others(other) == ("3", "0")


def test_what_a_session_reserved_that_is_gone_counts_for_all_until_the_batch_is_over(stores: Stores) -> None:
    one, other, third = stores.open(), stores.open(), stores.open()
    do(one, intend, "batch", "0.30")
    do(one, PostgresStore.update, "batch", now=1.0, stage="creating")
    close(one)
    assert others(other) == ("0", "0.30")
    do(other, PostgresStore.adopt, [b"x"])
    assert others(other) == others(third) == ("0", "0.30")
    do(other, PostgresStore.sweep_sessions, now=1e9)
    assert others(third) == ("0", "0.30")
    answer(other, "batch", 1)
    do(other, PostgresStore.end, "batch", now=7_200.0, keeps_unanswered=False)
    assert (others(other), others(third)) == (("0", "0"), ("1", "0"))


def test_a_batch_that_others_took_while_a_session_was_lost_counts_for_it_again(stores: Stores) -> None:
    one, other = stores.open(), stores.open()
    do(one, intend, "batch", "0.30")
    cut(one)
    (adopted,) = do(other, PostgresStore.adopt, [b"x"])
    assert adopted.lines[0][0] == digest(b"{}")
    assert others(one) == ("0", "0.30")


def test_many_that_spend_at_the_same_moment_stay_under_the_cap_and_use_it(stores: Stores) -> None:
    cap, each = Decimal(20), Decimal("0.7")
    sessions = [stores.open() for _ in range(4)]
    barrier = threading.Barrier(len(sessions))

    def spend(store: PostgresStore) -> Decimal:
        barrier.wait()
        own = ZERO
        for number in range(12):
            check = CapCheck((CapUse(cap, 0.0, None, own + each),), frozenset(), dollars, 0.0)
            with store.transaction():
                store.take_turn()
                if check.has_room(check.cost_of(store.others_spent(0.0, "b"))):
                    intend(store, f"{store.session}-{number}", str(each))
                    own += each
        return own

    with ThreadPoolExecutor(len(sessions)) as threads:
        total = sum(threads.map(spend, sessions), ZERO)
    assert cap - each < total <= cap


def test_many_that_create_at_the_same_moment_are_as_many_an_hour_as_may(stores: Stores) -> None:
    sessions = [stores.open() for _ in range(3)]
    barrier = threading.Barrier(len(sessions))

    def create(store: PostgresStore) -> list[float]:
        barrier.wait()
        return [do(store, PostgresStore.reserve_creation, "account", 4, now=100.0) for _ in range(4)]

    with ThreadPoolExecutor(len(sessions)) as threads:
        waits = sorted(wait for some in threads.map(create, sessions) for wait in some)
    assert waits == [0.0] * 4 + [3_600.0] * 4 + [7_200.0] * 4
    store = sessions[0]
    assert do(store, PostgresStore.reserve_creation, "another", 1, now=100.0) == 0.0
    assert do(store, PostgresStore.reserve_creation, "another", 1, now=3_000.0) == 700.0
    assert do(store, PostgresStore.reserve_creation, "account", 4, now=20_000.0) == 0.0
