"""Bodies that a program passes on for strangers: what is refused, at each door, before anything is queued."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import httpx
import pytest

from autobatcher import BatchTransport, UnbatchableRequestError
from autobatcher.client import checked_body
from autobatcher.client.http_parts import answer_parts
from autobatcher.engine import json_scan
from autobatcher.engine.request import Answer
from tests.harness import MODEL, open_harness

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
HEAD = json.dumps(CHAT).encode()[:-1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HEAD + b',"x":' + b"[" * 750 + b"]" * 750 + b"}", "750 levels"),
        (HEAD + b',"x":[' + b"[]," * 1_000_000 + b"[]]}", "1,000,000 lists"),
        (HEAD + b',"stream":[' + b"1," * 300_000 + b"1]}", "stream"),
        (HEAD + b',"x":"' + b"y" * 5_000_000 + b'\xff"}', "utf-8"),
    ],
    ids=["levels", "lists", "stream", "utf-8"],
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
