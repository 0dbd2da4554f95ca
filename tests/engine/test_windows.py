from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.engine.outcomes import closed_error
from autobatcher.engine.queue.backoff import FIRST_DELAY_SECONDS
from autobatcher.engine.queue.windows import Windows, key_of
from autobatcher.engine.request import Request
from autobatcher.engine.shares import Shares
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import CONSERVATIVE, DOUBLEWORD, OPENAI, ProviderProfile
from tests.operations import growth

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")


def account(provider: ProviderProfile = OPENAI, key: str = "k") -> Account:
    return Account(base_url="https://example.test/v1", provider=provider, api_key=key)


def unlimited() -> Shares:
    """Places for any number of batches."""
    return Shares(math.inf)


async def make(
    where: Account, model: str = "m", endpoint: str = ENDPOINTS[0], body: bytes = b"{}", inputs: int = 0
) -> Request:
    """Async, because a request can only be made inside an event loop."""
    return Request(account=where, endpoint=endpoint, body=body, model=model, embedding_inputs=inputs)


async def test_a_window_closes_when_its_time_is_up_counted_from_its_first_request() -> None:
    windows = Windows(batch_size=10, window_seconds=5)
    first, second = await make(account()), await make(account())
    assert windows.add(first, clock=lambda: 100.0)
    assert not windows.add(second, clock=lambda: 103.0)
    assert windows.next_due() == 105.0
    assert windows.due(104.9, unlimited()) == []
    assert windows.due(105.0, unlimited()) == [[first, second]]
    assert windows.next_due() == math.inf


async def test_a_window_closes_as_soon_as_it_is_full() -> None:
    windows = Windows(batch_size=2, window_seconds=5)
    requests = [await make(account()) for _ in range(3)]
    news = [windows.add(request, clock=lambda: 0) for request in requests]
    assert news == [True, True, True]  # a timer, a full window, a timer
    assert windows.due(0, unlimited()) == [requests[:2]]
    assert len(windows) == 1


async def test_openai_gets_one_endpoint_and_one_model_in_a_file() -> None:
    windows = Windows(batch_size=10, window_seconds=5)
    kinds = [("a", ENDPOINTS[0]), ("b", ENDPOINTS[0]), ("a", ENDPOINTS[1])] * 2
    for model, endpoint in kinds:
        windows.add(await make(account(), model, endpoint), clock=lambda: 0)
    batches = windows.due(5, unlimited())
    assert sorted(len(batch) for batch in batches) == [2, 2, 2]
    assert all(len({(r.model, r.endpoint) for r in batch}) == 1 for batch in batches)


async def test_doubleword_gets_everything_in_one_file() -> None:
    windows = Windows(batch_size=10, window_seconds=5)
    for model, endpoint in [("a", ENDPOINTS[0]), ("b", ENDPOINTS[0]), ("a", ENDPOINTS[1])]:
        windows.add(await make(account(DOUBLEWORD), model, endpoint), clock=lambda: 0)
    assert [len(batch) for batch in windows.due(5, unlimited())] == [3]


async def test_no_batch_mixes_accounts() -> None:
    windows = Windows(batch_size=10, window_seconds=5)
    for key in ("one", "two", "one"):
        windows.add(await make(account(DOUBLEWORD, key)), clock=lambda: 0)
    assert sorted(len(batch) for batch in windows.due(5, unlimited())) == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30)), min_size=1, max_size=40))
async def test_no_window_passes_a_limit_of_its_provider(sizes: list[tuple[int, int]]) -> None:
    strict = replace(CONSERVATIVE, max_requests=7, max_file_bytes=1_000, max_embedding_inputs=40)
    windows = Windows(batch_size=1_000, window_seconds=5)
    requests = [await make(account(strict), body=b" " * size, inputs=n) for size, n in sizes]
    for request in requests:
        windows.add(request, clock=lambda: 0)
    batches = windows.due(5, unlimited())
    assert [r for batch in batches for r in batch] == requests  # none lost, none twice, in order
    for batch in batches:
        assert len(batch) <= 7
        assert sum(r.size for r in batch) <= 1_000
        assert sum(r.embedding_inputs for r in batch) <= 40


async def test_a_withdrawn_request_leaves_its_window_and_its_room() -> None:
    windows = Windows(batch_size=2, window_seconds=5)
    gone, stays, third = [await make(account()) for _ in range(3)]
    windows.add(gone, clock=lambda: 0)
    assert gone.holder is not None
    gone.holder.withdraw(gone)
    assert windows.due(5, unlimited()) == []
    windows.add(stays, clock=lambda: 20)
    assert windows.due(24.9, unlimited()) == []  # the window's time starts anew with its new first request
    windows.add(third, clock=lambda: 22)
    assert windows.due(22, unlimited()) == [[stays, third]]


async def test_failing_all_settles_every_queued_request() -> None:
    windows = Windows(batch_size=2, window_seconds=5)
    requests = [await make(account(), model) for model in "aab"]
    for request in requests:
        windows.add(request, clock=lambda: 0)
    windows.fail_all(closed_error)
    assert len(windows) == 0
    assert all(request.holder is None for request in requests)


async def test_throttled_requests_wait_for_their_time_then_for_a_place_of_each_account_in_turn() -> None:
    windows = Windows(batch_size=2, window_seconds=5)
    kinds = [(account(key=key), model) for key, model in (("one", "a"), ("one", "b"), ("two", "c"))]
    several = [[await make(where, model) for _ in range(2)] for where, model in kinds]
    for requests in several:
        windows.throttle(requests, key_of(requests[0]), now=0, sent=4, retry_after=0)
    assert windows.next_due() == FIRST_DELAY_SECONDS
    assert windows.due(FIRST_DELAY_SECONDS - 0.1, unlimited()) == []
    full = Shares(1)
    full.take("somebody else")
    assert windows.due(FIRST_DELAY_SECONDS, full) == []
    assert windows.next_due() == math.inf  # nothing changes until there is a place
    assert windows.due(FIRST_DELAY_SECONDS, unlimited()) == [several[0], several[2], several[1]]


async def test_a_kind_that_is_refused_again_while_it_waits_for_a_place_does_not_leave_early() -> None:
    windows, full = Windows(batch_size=4, window_seconds=5), Shares(1)
    full.take("somebody else")
    first, second = await make(account()), await make(account())
    windows.throttle([first], key_of(first), now=0, sent=4, retry_after=0)
    assert windows.due(FIRST_DELAY_SECONDS, full) == []
    windows.throttle([second], key_of(first), now=FIRST_DELAY_SECONDS, sent=4, retry_after=100)
    assert windows.due(FIRST_DELAY_SECONDS + 99, unlimited()) == []
    assert windows.due(FIRST_DELAY_SECONDS + 100, unlimited()) == [[second, first]]


async def test_a_throttled_kind_whose_callers_have_all_left_is_forgotten() -> None:
    windows, request = Windows(batch_size=4, window_seconds=5), await make(account())
    windows.throttle([request], key_of(request), now=0, sent=4, retry_after=0)
    request.withdraw()
    assert windows.due(FIRST_DELAY_SECONDS, unlimited()) == []
    assert not windows._throttled
    assert windows.next_due() == math.inf


@pytest.mark.proves("faults", "thousands of calls, keys, models, headers or failures from strangers at once")
@pytest.mark.parametrize("where", ["open", "throttled", "backed off"])
async def test_a_wake_costs_the_same_however_many_kinds_wait(where: str) -> None:
    requests = [await make(account(key=f"key-{number % 100}"), f"model-{number}") for number in range(2_001)]
    places = Shares(1)
    places.take("somebody else")

    def waking(count: int) -> Callable[[], object]:
        windows = Windows(batch_size=10, window_seconds=5)
        for request in requests[:count]:
            if where == "open":
                windows.add(request, clock=lambda: 0)
            else:
                windows.throttle([request], key_of(request), now=0, sent=4, retry_after=0)
        now = 0 if where in ("open", "throttled") else FIRST_DELAY_SECONDS
        windows.due(now, places)
        return lambda: (windows.add(requests[2_000], lambda: now), windows.due(now, places), windows.next_due())

    assert growth(waking) < 1.5
