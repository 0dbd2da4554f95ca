"""Lines that several engines share: each is given once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from autobatcher.engine.journal.postgres.claims import UNREAD_SECONDS
from autobatcher.engine.journal.postgres.failed_lines import FAILURE_SECONDS
from autobatcher.engine.journal.postgres.shared import Claimed, Failed, Missing, RemoteOutcome, Unread, Waiting
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.engine.journal.records import StoredAnswer
from autobatcher.engine.journal.shared_journal import LookUp, look_up_in
from tests.journal.postgres.stores import Stores, an_answer, close, digest, do, write_batch

pytestmark = pytest.mark.real_time


def claim(store: PostgresStore, *bodies: bytes) -> list[Claimed | None]:
    return do(store, PostgresStore.claim, [digest(body) for body in bodies])


def numbers(claimed: Sequence[Claimed | None]) -> list[int | None]:
    return [None if each is None else each.line.number for each in claimed]


def test_a_line_is_claimed_once_and_answered_ones_first(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"a", b"a", b"b"])
    assert numbers(claim(two, b"a", b"b", b"none")) == [None, None, None]  # their callers wait
    do(one, PostgresStore.free, [("one", number) for number in range(4)])
    do(one, PostgresStore.answer, [an_answer("one", 1, is_taken=False)], now=7.0)
    found = claim(two, b"a", b"none", b"b", b"a")
    assert numbers(found) == [1, None, 3, 0]
    assert found[0] is not None
    assert (found[0].owner, found[0].is_owner_alive) == (one.session, True)
    assert (found[0].line.is_stored, found[0].line.is_paid, found[0].line.unclaimed_since) == (True, True, 7.0)
    assert numbers(claim(one, b"a", b"a")) == [2, None]
    do(two, PostgresStore.free, [("one", 1), ("one", 2)])  # the latter is not theirs
    assert numbers(claim(one, b"a", b"a")) == [1, None]


def test_lines_of_a_session_that_is_gone_are_free_and_those_never_sent_are_not(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "sent", [b"a", b"b"], stage="creating")
    write_batch(one, "unsent", [b"a"], stage="intended")
    do(one, PostgresStore.answer, [an_answer("sent", 1)], now=2.0)
    close(one)
    found = claim(two, b"a", b"a", b"b")
    assert [each and (each.line.idempotency_key, each.is_owner_alive) for each in found] == [
        ("sent", False),
        None,
        ("sent", False),
    ]


def test_what_was_delivered_is_free_only_if_its_process_was_killed(stores: Stores) -> None:
    killed, one, other = stores.open(), stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"b"])
    do(one, PostgresStore.answer, [an_answer("one", 0), an_answer("one", 1)], now=2.0)
    do(one, PostgresStore.end_session, "well", keeper=killed.session)
    close(one)
    assert claim(other, b"a") == [None]  # the process may still fail
    do(other, PostgresStore.sweep_sessions, now=3.0)
    assert claim(other, b"a") == [None]
    close(killed)
    assert numbers(claim(other, b"a")) == [0]
    do(other, PostgresStore.free, [("one", 0)])

    two, keeper = stores.open(), stores.open()
    assert numbers(claim(two, b"a")) == [0]
    do(two, PostgresStore.end_session, "well", keeper=keeper.session)
    do(keeper, PostgresStore.process_exited)
    close(two)
    close(keeper)
    assert claim(other, b"a") == [None]
    do(other, PostgresStore.sweep_sessions, now=UNREAD_SECONDS)  # a retry may still come for it
    assert [each.number for each in other.results("one")] == [0, 1]
    assert claim(other, b"a") == [None]
    do(other, PostgresStore.sweep_sessions, now=UNREAD_SECONDS + 4.0)
    assert [each.number for each in other.results("one")] == [1]
    assert [each.number for each in other.sessions()] == [killed.session, one.session, other.session]


def test_a_call_belongs_to_whoever_claims_it(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "call", [b"a"], stage="calling", completion_window="flex")
    do(one, PostgresStore.free, [("call", 0)])
    (found,) = claim(two, b"a")
    assert found is not None
    assert (found.line.is_call, found.line.is_paid, found.line.is_stored) == (True, False, False)
    do(two, PostgresStore.booked_call, "call", now=2.0)
    do(two, PostgresStore.told_uncertain, "call", now=2.0)
    (record,) = one.batches()
    assert (record.stage, record.status, record.answered) == ("ended", "uncertain", 1)
    do(two, PostgresStore.forget, "call")
    assert one.batches() == []


def test_an_answer_reaches_the_session_that_waits_for_it(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"b", b"c", b"d"])
    places = [("one", number) for number in range(4)]
    do(one, PostgresStore.free, places)
    assert two.is_awaited_elsewhere([digest(b"a")]) == set()
    assert not one.awaits_others("one")
    claim(two, b"a", b"b", b"c")
    assert one.is_awaited_elsewhere([digest(b"a"), digest(b"d")]) == {digest(b"a")}
    assert one.awaits_others("one")
    do(one, PostgresStore.answer, [an_answer("one", 0, b"{1}", is_taken=False)], now=2.0)
    do(one, PostgresStore.drop, "one", 1)
    first, *others = do(two, PostgresStore.outcomes_of, [*places[:3], ("no", 0)])
    assert isinstance(first, StoredAnswer)
    assert (first.body, first.batch_id) == (b"{1}", "batch_one")
    assert others == [Missing(), Waiting(), Missing()]
    do(one, PostgresStore.end, "one", now=3.0, keeps_unanswered=False)
    assert do(two, PostgresStore.outcomes_of, places[2:3]) == [Missing()]
    assert not one.awaits_others("one")


def test_without_bodies_a_line_of_a_batch_that_ended_must_be_read_again(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a"], is_hash_only=True)
    do(one, PostgresStore.free, [("one", 0)])
    claim(two, b"a")
    assert do(two, PostgresStore.outcomes_of, [("one", 0)]) == [Waiting()]
    do(one, PostgresStore.answer, [an_answer("one", 0, None, is_taken=False)], now=2.0)
    do(one, PostgresStore.end, "one", now=3.0, keeps_unanswered=True)
    assert do(two, PostgresStore.outcomes_of, [("one", 0)]) == [Unread()]
    assert do(two, PostgresStore.adopt, [b"x"]) == []
    (adopted,) = do(two, PostgresStore.adopt, [], keys=["one"])
    assert (adopted.record.stage, adopted.record.is_hash_only) == ("ended", True)


def test_three_that_claim_the_same_get_each_line_once_and_leave_none(stores: Stores) -> None:
    owner = stores.open()
    bodies = [b"%d" % (number % 20) for number in range(300)]  # 15 of each
    write_batch(owner, "one", bodies)
    do(owner, PostgresStore.free, [("one", number) for number in range(300)])
    claimers = [stores.open() for _ in range(3)]
    barrier = threading.Barrier(3)
    wanted = [b"%d" % number for number in range(20)]

    def claim_all(store: PostgresStore) -> list[int]:
        mine: list[int] = []
        returns = [0] * 5
        order = wanted if store is claimers[0] else wanted[::-1]
        barrier.wait()
        while found := [number for number in numbers(claim(store, *order, *order)) if number is not None]:
            mine += found
            if returns:  # others may get it, too
                do(store, PostgresStore.free, [("one", mine.pop(returns.pop()))])
        return mine

    with ThreadPoolExecutor(3) as threads:
        taken = [number for mine in threads.map(claim_all, claimers) for number in mine]
    rest = [number for number in numbers(claim(owner, *bodies)) if number is not None]
    assert Counter(taken + rest) == Counter(range(300))
    assert len(rest) <= 3  # each may have given one back last, when the others had looked


def test_a_claim_waits_for_what_is_freed_at_that_moment(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a"])
    do(one, PostgresStore.free, [("one", 0)])
    with ThreadPoolExecutor(1) as thread:
        with one.transaction():
            assert one.claim([digest(b"a")]) != [None]
            claiming = thread.submit(claim, two, b"a")
            while not one._rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
                pass
            one.free([("one", 0)])
        assert numbers(claiming.result()) == [0]


def look_up(store: PostgresStore, *bodies: bytes, now: float) -> LookUp:
    digests = [digest(body) for body in bodies]
    return do(store, look_up_in, digests, digests, now=now)


def test_a_retry_finds_what_changed_hands_while_it_waited_for_another_transaction(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"b", b"c"])
    do(one, PostgresStore.answer, [an_answer("one", 0)], now=2.0)
    do(one, PostgresStore.free, [("one", 1), ("one", 2)])
    with ThreadPoolExecutor(1) as pool:
        with one.transaction():
            one.free([("one", 0)])
            assert numbers(one.claim([digest(b"b")])) == [1]
            found = pool.submit(look_up, two, b"a", b"b", b"c", now=1000.0)
            wait([found], timeout=0.5)  # it waits for the lock of b
        assert numbers(found.result().claimed) == [None, None, 2]
        assert found.result().elsewhere == {digest(b"b")}
        assert numbers([*found.result().given_before.values()]) == [0]


def test_an_answer_that_was_claimed_is_new_again_for_the_next_retry(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a"])
    do(one, PostgresStore.answer, [an_answer("one", 0, is_taken=False)], now=2.0)
    do(one, PostgresStore.free, [("one", 0)])
    assert numbers(look_up(one, b"a", now=1000.0).claimed) == [0]
    found = look_up(two, b"a", now=1000.0 + UNREAD_SECONDS)
    assert numbers([*found.claimed, *found.given_before.values()]) == [None, 0]
    assert look_up(one, b"a", now=1001.0 + 2 * UNREAD_SECONDS).given_before == {}


def test_a_line_is_elsewhere_while_its_batch_may_still_be_created(stores: Stores) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a"], stage="intended")
    close(one)
    found = look_up(two, b"a", now=3.0)
    assert (found.claimed, found.elsewhere) == ([None], {digest(b"a")})
    do(two, PostgresStore.adopt, [b"x"])
    do(two, PostgresStore.forget, "one")
    assert look_up(two, b"a", now=4.0).elsewhere == set()


def failures(store: PostgresStore) -> list[RemoteOutcome]:
    return do(store, PostgresStore.outcomes_of, [("one", 0), ("one", 1)])


@pytest.mark.parametrize("way", ["the batch is forgotten", "an hour has passed"])
def test_why_lines_failed_is_told_to_who_waits_and_goes(stores: Stores, way: str) -> None:
    one, two = stores.open(), stores.open()
    write_batch(one, "one", [b"a", b"b", b"c"])
    do(one, PostgresStore.free, [("one", number) for number in range(3)])
    assert numbers(claim(two, b"a", b"b")) == [0, 1]
    do(one, PostgresStore.fail, "one", [0], "why", now=1_000.0)
    assert failures(two) == [Failed("why"), Waiting()]
    assert numbers(claim(stores.open(), b"a")) == [None]
    if way == "the batch is forgotten":
        do(one, PostgresStore.forget, "one")
    else:
        do(one, PostgresStore.forget_old, now=1_000.0 + FAILURE_SECONDS + 1, retention_seconds=1e6)
    assert failures(two)[0] == Missing()
