"""Rows of background responses on a server, from several sessions."""

from __future__ import annotations

from autobatcher.engine.journal.response_rows import ADOPTED_BYTES, within
from autobatcher.engine.journal.responses import KeptResponse
from tests.journal.postgres.stores import Stores, close, do


def a_response(id_: str, owner: bytes = b"o", created_at: float = 1.0) -> KeptResponse:
    return KeptResponse(id_, owner, b"digest", "queued", created_at, 7.5, "x-a", b"what is asked", b"{}")


def ids(found: list[KeptResponse]) -> list[str]:
    return sorted(each.id for each in found)


def test_what_a_session_leaves_or_has_when_it_ends_is_adopted_once(stores: Stores) -> None:
    one, two, three = stores.open(), stores.open(), stores.open()
    for id_ in ("a", "b", "c"):
        assert do(one, type(one).add_response, a_response(id_)) is None
    assert do(one, type(one).add_response, a_response("other", b"another owner")) is None
    assert do(two, type(two).adopt_responses, [b"o"], most=10) == []
    do(one, type(one).leave_response, "a")
    (found,) = do(two, type(two).adopt_responses, [b"o"], most=10)
    assert found == a_response("a")
    close(one)
    assert ids(do(two, type(two).adopt_responses, [b"o"], most=1)) == ["b"]
    assert ids(do(three, type(three).adopt_responses, [b"o"], most=10)) == ["c"]
    assert do(two, type(two).adopt_responses, [b"o"], most=10) == []


def test_how_a_response_ended_first_counts_and_is_forgotten_in_time(stores: Stores) -> None:
    store = stores.open()
    for id_, created_at in (("done", 1.0), ("cancelled", 1.0), ("old", 1.0), ("new", 50.0)):
        do(store, type(store).add_response, a_response(id_, created_at=created_at))
    do(store, type(store).begin_responses, ["done", "new"], now=2.0)
    cancelled = do(store, type(store).cancel_response, "cancelled", b"o", now=5.0)
    assert cancelled is not None
    assert cancelled.status == "cancelled"
    for id_ in ("done", "cancelled"):
        end = a_response(id_)._replace(status="completed", response=b'{"a": 1}', upstream_id="up")
        do(store, type(store).end_response, end, now=20.0)
    done = do(store, type(store).response, "done", b"o")
    assert done is not None
    assert (done.status, done.response, done.upstream_id, done.body) == ("completed", b'{"a": 1}', "up", None)
    assert do(store, type(store).response, "cancelled", b"o") == cancelled
    assert do(store, type(store).response, "done", b"another owner") is None
    assert do(store, type(store).open_responses, ["done", "old", "new"]) == {"old", "new"}
    assert do(store, type(store).forget_responses, until=10.0, open_until=10.0) == 2
    assert do(store, type(store).open_responses, ["old", "new"]) == {"new"}
    assert do(store, type(store).delete_response, "done", b"another owner") is False
    assert do(store, type(store).delete_response, "done", b"o") is True


def test_as_many_are_adopted_as_fit_into_memory() -> None:
    large = ADOPTED_BYTES
    assert list(within([("a", large + 1), ("b", 1)], 10)) == ["a"]
    assert list(within([("a", 1), ("b", large), ("c", 1)], 10)) == ["a"]
    assert list(within([("a", 1), ("b", 1), ("c", 1)], 2)) == ["a", "b"]
