"""An upstream is a stranger: what it sends is bounded, and what it asks for is not always done."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import openai
import pytest

from autobatcher import BatchEndedError, BatchSubmissionError
from autobatcher.emulator import Fault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.answer_room import LARGE_AT_ONCE
from autobatcher.upstream.large_turn import TURN_BYTES
from tests.harness import HTTP, Send, ask, between, httpx_leaves_generators, open_harness, outcome_of

pytestmark = httpx_leaves_generators

OVERSIZE = "a batch object, a list or the answer to an upload is larger than any honest one, or inflates without end"
NOTHING = "a compressed body of millions of empty pieces, or of nothing without end"
DRIPS = "a download drips"
SENT_ELSEWHERE = "an upstream redirects a call"

BOMB: dict[str, Any] = {"pad_bytes": 100_000_000, "gzip": True}
STORAGE = "https://storage.test"


@contextmanager
def memory_within(limit: int) -> Iterator[None]:
    """Fail if Python takes more bytes in the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.proves("faults", OVERSIZE)
async def test_an_answer_larger_than_any_honest_one_is_not_taken_in_and_nothing_is_paid_twice() -> None:
    operations = ("files.create", "batches.create", "batches.retrieve")
    plan = FaultPlan(tuple(HttpFault(operation=operation, first=1, **BOMB) for operation in operations))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        with memory_within(40_000_000):
            assert "x." in await ask(client, "x.")
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.proves("faults", OVERSIZE)
async def test_an_oversize_error_keeps_its_status_and_its_beginning() -> None:
    plan = FaultPlan((HttpFault(operation="files.create", status=401, body="no such key", **BOMB),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        with memory_within(40_000_000):
            outcome = await outcome_of(ask(client, "x"))
        assert outcome.status_code == 401
        assert "no such key" in str(outcome)
        assert len(str(outcome)) < 1000


class _Nothing(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
    """A body of empty members of gzip, without end. No generator: nobody closes that of a stream that is given up."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await anyio.sleep(0.01)
        return gzip.compress(b"") * 1_000


@pytest.mark.proves("faults", NOTHING)
@pytest.mark.parametrize("status", [200, 401])
async def test_an_answer_of_nothing_without_end_is_given_up(status: int) -> None:
    async def answer(request: Any, send: Send) -> Any:
        if request.url.path.endswith("/batches") and request.method == "POST":
            return HTTP.Response(status, headers={"content-encoding": "gzip"}, stream=_Nothing())
        return await send(request)

    async with open_harness() as harness, harness.client(http_client=between(harness, answer)) as client:
        assert "POST /batches answered" in str(await outcome_of(ask(client, "x")))
        assert anyio.current_time() < 10_000


@pytest.mark.proves("faults", DRIPS)
@pytest.mark.parametrize("operation", ["files.create", "batches.retrieve", "files.content"])
async def test_what_drips_ends_and_is_tried_again(operation: str) -> None:
    plan = FaultPlan((HttpFault(operation=operation, first=1, drip_seconds=50.0),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        assert "x." in await ask(client, "x.")
        assert anyio.current_time() < 7_000
        assert harness.emulator.statistics().batches_created == 1


# ---- redirects ----


def storage(headers: list[Any], **response: Any) -> Callable[[Any, Send], Any]:
    """What stands between: notes the headers of each call to another host, and answers for that host."""

    async def answer(request: Any, send: Send) -> Any:
        if request.url.host == "storage.test":
            headers.append(request)
            if response:
                return HTTP.Response(**response)
        return await send(request)

    return answer


@pytest.mark.proves("faults", SENT_ELSEWHERE)
@pytest.mark.parametrize("operation", ["files.create", "batches.create", "batches.retrieve", "files.delete"])
async def test_redirects_within_the_origin_are_followed_with_the_whole_request(operation: str) -> None:
    plan = FaultPlan((HttpFault(operation=operation, first=1, redirect_to="http://upstream.test"),))
    async with open_harness(faults=plan, api_key="test-key") as harness, harness.client() as client:
        assert "x." in await ask(client, "x.")
        statistics = harness.emulator.statistics()
        assert (statistics.uploads, statistics.batches_created) == (1, 1)


@pytest.mark.proves("faults", SENT_ELSEWHERE)
async def test_a_file_is_fetched_from_another_host_without_anything_of_ours() -> None:
    async def sign(request: Any) -> None:
        request.headers["x-signed-by-a-hook"] = "secret"

    requests: list[Any] = []
    plan = FaultPlan((HttpFault(operation="files.content", first=1, status=302, redirect_to=STORAGE),))
    async with open_harness(faults=plan) as harness:
        http = between(
            harness,
            storage(requests),
            auth=("us", "secret"),
            cookies={"c": "secret"},
            headers={"x-of-the-http-client": "secret"},
            params={"q": "secret"},
            event_hooks={"request": [sign]},
        )
        headers = {"x-ours": "secret", "api-key": "secret"}
        async with harness.client(http_client=http, default_headers=headers, default_query={"v": "secret"}) as client:
            assert "x." in await ask(client, "x.")
    (fetched,) = requests
    assert set(fetched.headers) <= {"host", "accept", "accept-encoding"}
    assert "secret" not in str(fetched.url)


@pytest.mark.proves("faults", SENT_ELSEWHERE)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (HttpFault(operation="files.create", redirect_to=STORAGE), "another server"),
        (HttpFault(operation="files.create", redirect_to="http://upstream.test:81"), "another server"),
        (HttpFault(operation="batches.create", status=303, redirect_to="http://upstream.test"), "a GET"),
        (HttpFault(operation="files.create", redirect_to="http://upstream.test"), "more than 5 times"),
        (HttpFault(operation="files.create", redirect_to="http://x:y", status=308), "not a URL"),
    ],
)
async def test_a_redirect_that_is_not_followed_is_told_and_nobody_gets_the_key(fault: HttpFault, said: str) -> None:
    requests: list[Any] = []
    async with open_harness(faults=FaultPlan((fault,))) as harness:
        async with harness.client(http_client=between(harness, storage(requests))) as client:
            outcome = await outcome_of(ask(client, "x."))
        assert isinstance(outcome, BatchSubmissionError)
        assert said in str(outcome)
        assert requests == []
        assert harness.emulator.statistics().batches_created == 0


@pytest.mark.proves("faults", SENT_ELSEWHERE)
@pytest.mark.parametrize("elsewhere", ["http://storage.test", "ftp://storage.test", "file://"])
async def test_a_file_is_fetched_by_https_only(elsewhere: str) -> None:
    requests: list[Any] = []
    faults: tuple[Fault, ...] = (HttpFault(operation="files.content", redirect_to=elsewhere),)
    async with open_harness(faults=FaultPlan(faults)) as harness:
        http = between(harness, storage(requests))
        async with harness.client(http_client=http) as client:
            outcome = await outcome_of(ask(client, "x."))
    assert "by https only" in str(outcome)
    assert requests == []


async def test_a_call_that_passes_through_does_not_go_to_another_origin() -> None:
    requests: list[Any] = []
    plan = FaultPlan((HttpFault(operation="models", redirect_to=STORAGE),))
    elsewhere = storage(requests, status_code=200, json={"object": "list", "data": []})
    async with open_harness(faults=plan) as harness:
        http = between(harness, elsewhere, follow_redirects=True)
        async with harness.client(http_client=http, default_headers={"api-key": "secret"}) as client:
            with pytest.raises(openai.APIStatusError, match="307"):
                await client.models.list()
    assert requests == []


@pytest.mark.proves("faults", "a line longer than max_answer_bytes")
async def test_the_caller_of_a_line_that_is_too_long_is_told_and_has_its_beginning() -> None:
    plan = FaultPlan((LineFault(kind="canned", body=f'{{"a": "{"x" * 50_000}"}}'),))
    async with open_harness(faults=plan) as harness:
        async with harness.client(max_answer_bytes=20_000, missing_lines="resubmit") as client:
            outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, BatchEndedError)
        assert "20,000 bytes of max_answer_bytes" in str(outcome)
        assert isinstance(outcome.body, dict)
        assert outcome.body["code"] == "answer_too_large"
        assert outcome.body["line"].startswith('{"id":')
        assert anyio.current_time() < 100  # nobody reads it again
        assert harness.emulator.statistics().batches_created == 1


class _Dripping(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
    """A body of which a piece comes each second.

    Attributes:
        large: how many bodies there are that have come further than one that waits may.
    """

    large = most_large = 0

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._at = 0
        return self

    async def __anext__(self) -> bytes:
        await anyio.sleep(1)
        if self._at >= len(self._content):
            raise StopAsyncIteration
        piece = self._content[self._at : self._at + TURN_BYTES]
        before, self._at = self._at, self._at + len(piece)
        _Dripping.large += self._is_large(self._at) - self._is_large(before)
        _Dripping.most_large = max(_Dripping.most_large, _Dripping.large)
        return piece

    def _is_large(self, at: int) -> bool:
        """Whether a reader was given more than the piece with which it has to wait."""
        return 2 * TURN_BYTES < at < len(self._content)


@pytest.mark.proves("faults", "answers of hundreds of megabytes for many batches at once")
@pytest.mark.parametrize("lane", ["batch", pytest.param("realtime", marks=pytest.mark.full_price)])
async def test_large_answers_of_many_batches_and_calls_are_read_a_few_at_a_time(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Dripping, "large", 0)
    monkeypatch.setattr(_Dripping, "most_large", 0)

    async def answer(request: Any, send: Send) -> Any:
        told = await send(request)
        if not request.url.path.endswith(("/content", "/chat/completions")):
            return told
        return HTTP.Response(told.status_code, headers=dict(told.headers), stream=_Dripping(await told.aread()))

    texts = [f"{number}" + "x" * 9_000_000 for number in range(6)]
    options: Any = {"batch_size": 1} if lane == "batch" else {"lanes": ("realtime",), "deadline": 3600}
    got: list[str] = []
    async with (
        open_harness(has_lanes=lane == "realtime") as harness,
        harness.client(http_client=between(harness, answer), **options) as client,
    ):

        async def call(text: str) -> None:
            got.append(await ask(client, text))

        async with anyio.create_task_group() as callers:
            for text in texts:
                callers.start_soon(call, text)
    assert sorted(got) == texts
    assert _Dripping.most_large == LARGE_AT_ONCE
