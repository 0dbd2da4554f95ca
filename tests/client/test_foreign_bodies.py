"""Bodies that a program passes on for strangers: what is refused, at each door, before anything is queued."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from autobatcher import BatchTransport, UnbatchableRequestError
from autobatcher.client import checked_body
from autobatcher.client.http_parts import answer_parts
from autobatcher.engine import json_scan
from autobatcher.engine.request import Answer
from tests.harness import HTTP, MODEL, httpx_leaves_generators, open_harness

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
JSON_TYPE = {"content-type": "application/json"}
LARGE_MODELS = "a list of models, or an error instead of one, of many megabytes"
HEAD = json.dumps(CHAT).encode()[:-1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HEAD + b',"x":' + b"[" * 750 + b"]" * 750 + b"}", "750 levels"),
        (HEAD + b',"x":[' + b"[]," * 1_000_000 + b"[]]}", "1,000,000 lists"),
        (HEAD + b',"stream":[' + b"1," * 300_000 + b"1]}", "stream"),
        (HEAD + b',"x":"' + b"y" * 5_000_000 + b'\xff"}', "utf-8"),
        (HEAD + b',"x":{' + b'"":1,' * 1_000_000 + b'"":1}}', "1,000,000 names"),
    ],
    ids=["levels", "lists", "stream", "utf-8", "names"],
)
async def test_a_body_that_no_honest_caller_sends_is_refused_at_every_door(body: bytes, reason: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(UnbatchableRequestError, match=reason):
            await client.answer("/v1/chat/completions", body)
        with pytest.raises(UnbatchableRequestError, match=reason):
            client.submit_nowait("/v1/chat/completions", body)
        transport = BatchTransport(http_client=harness.emulator.http_client(library="httpx"))
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
            headers = {"content-type": "application/json"}
            response = await http.post("/chat/completions", content=body, headers=headers)
            assert response.status_code == 400
            assert reason in response.text
        statistics = client.batch_statistics()
        assert statistics is None or statistics.waiting_requests == 0
        assert harness.emulator.statistics().batches_created == 0


async def test_large_bodies_are_answered_and_found_again_in_the_journal(tmp_path: Any) -> None:
    texts = [["a" * 100, f"{number}"] for number in range(3)]
    bodies = [json.dumps({"model": MODEL, "input": text}).encode() + b" " * 4_000_000 for text in texts]
    assert all(map(json_scan.is_large, bodies))
    answers = []
    async with open_harness() as harness:
        for _ in range(2):
            async with harness.client(journal=tmp_path / "journal", batch_window_seconds=1) as client:
                client.keep_for_rerun()
                answers.append([(await client.answer("/v1/embeddings", body)).body for body in bodies])
        assert answers[0] == answers[1]
        assert harness.emulator.statistics().batches_created == 3


async def test_the_inputs_of_large_embeddings_calls_are_counted() -> None:
    from autobatcher.client.batchable import batch_request
    from tests.engine.test_windows import account

    for written, count in (
        (json.dumps(['"quoted\\" and [more', "\\", ""] * 70_000), 210_000),
        (json.dumps([[1, 2, 3]] * 70_000), 70_000),
        (json.dumps([1] * 250_000), 1),
        (json.dumps("a, " * 250_000), 1),
    ):
        body = b'{"model":"m","input":%b}' % written.encode()
        assert batch_request(account(), "/v1/embeddings", body).embedding_inputs == count
        assert await checked_body.checked_body("/v1/embeddings", body) != body


@pytest.mark.proves("faults", "an answer for a stream has thousands of parts; a failed line has megabytes of reason")
@pytest.mark.parametrize("element", [b"[]", b"5e-324", b'"%b"' % (b"x" * 100)], ids=["lists", "hard numbers", "bytes"])
async def test_an_error_that_no_honest_upstream_tells_is_cut_and_not_decoded(element: bytes) -> None:
    body = b'{"error":[' + b",".join([element] * 700_000) + b"]}"
    answer = Answer(400, body, None, "batch_1", "line-1")
    tracemalloc.start()
    begun = time.thread_time()
    content = answer_parts(answer)["content"]
    seconds, peak = time.thread_time() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content.startswith(b'{"error":{"message":"{\\"error\\":[')
    assert len(content) < 25_000
    assert peak < 2.5 * len(body)
    assert seconds < 0.25


class _Streamed(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
    """A piece again and again."""

    def __init__(self, piece: bytes, times: int) -> None:
        self._piece, self._times = piece, times
        self.sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.sent >= self._times * len(self._piece):
            raise StopAsyncIteration
        self.sent += len(self._piece)
        return self._piece


@httpx_leaves_generators
@pytest.mark.proves("faults", LARGE_MODELS)
async def test_a_list_of_models_is_read_up_to_what_an_honest_one_has() -> None:
    body = _Streamed(b"[]," * 20_000, 1_000)
    upstream = HTTP.MockTransport(lambda _: HTTP.Response(200, stream=body, headers=JSON_TYPE))
    async with open_harness() as harness:
        client = harness.client(http_client=HTTP.AsyncClient(transport=upstream), max_retries=0)
        async with client:
            with pytest.raises(openai.APIConnectionError) as caught:
                await client.models.list()
            assert "10,000,000 bytes" in str(caught.value.__cause__)
    assert body.sent < 11_000_000


@httpx_leaves_generators
@pytest.mark.proves("faults", LARGE_MODELS)
@pytest.mark.parametrize("element", [b"[],", b"5e-324,"], ids=["lists", "hard numbers"])
async def test_of_an_error_that_passes_through_the_beginning_is_decoded(element: bytes) -> None:
    body = _Streamed(element * 10_000, 1_000)
    upstream = HTTP.MockTransport(lambda _: HTTP.Response(404, stream=body, headers=JSON_TYPE))
    async with open_harness() as harness:
        client = harness.client(http_client=HTTP.AsyncClient(transport=upstream), max_retries=0)
        async with client:
            with pytest.raises(openai.NotFoundError) as caught:
                await client.models.list()
    assert caught.value.response.content == (element * 10_000)[:10_000]
    assert body.sent < 2_000_000


@pytest.mark.parametrize("value", ["é".encode(), b"\xff", "\u0663".encode()])
async def test_headers_that_are_no_ascii_pass_through_as_they_came(value: bytes) -> None:
    headers = [(b"x-served-by", value), (b"content-type", b"application/json")]
    upstream = HTTP.MockTransport(lambda _: HTTP.Response(200, headers=headers, content=b'{"data": []}'))
    async with open_harness() as harness, harness.client(http_client=HTTP.AsyncClient(transport=upstream)) as client:
        response = await client.models.with_raw_response.list()
        assert (b"x-served-by", value) in response.http_response.headers.raw
