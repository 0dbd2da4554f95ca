"""Properties of all streams."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from autobatcher.client.streams import (
    MOST_AT_ONCE_BYTES,
    MOST_STREAMED_BYTES,
    MOST_STREAMED_ELEMENTS,
    UnstreamableAnswerError,
    stream_events,
    streaming,
)

from .answers import CHAT, COMPLETIONS, ENDED_EARLY, RESPONSES
from .serving import messages_of

ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
EVERY = [
    *(("/v1/chat/completions", name) for name in CHAT),
    *(("/v1/completions", name) for name in COMPLETIONS),
    *(("/v1/responses", name) for name in {**RESPONSES, **ENDED_EARLY}),
]
ANSWERS = dict(zip(ENDPOINTS, [CHAT, COMPLETIONS, {**RESPONSES, **ENDED_EARLY}], strict=True))


def _frames(endpoint: str, answer: object, include_usage: bool = True, **how: Any) -> list[bytes]:
    return list(stream_events(endpoint, json.dumps(answer, **how).encode(), include_usage=include_usage))


@pytest.mark.parametrize(("endpoint", "name"), EVERY)
def test_indentation_and_raw_characters_of_the_answer_change_nothing(endpoint: str, name: str) -> None:
    answer = ANSWERS[endpoint][name]
    told = messages_of(_frames(endpoint, answer))
    assert messages_of(_frames(endpoint, answer, indent=2, ensure_ascii=False)) == told


@pytest.mark.parametrize(("endpoint", "name"), EVERY)
def test_every_frame_survives_clients_that_split_lines_at_unicode_separators(endpoint: str, name: str) -> None:
    for frame in _frames(endpoint, ANSWERS[endpoint][name], ensure_ascii=False):
        assert frame.decode().splitlines() == frame.decode()[:-1].split("\n")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"Bad gateway",
        b"{",
        b"{}",
        b'{"error": {"message": "no"}}',
        b'{"choices": 3, "output": 3}',
        b'{"choices": [null], "output": [null]}',
        b'{"choices": [], "output": []} x',
        b'{"choices": [], "output": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices": [], "output": [], "\xff": 1}',
    ],
    ids=lambda body: body[:40],
)
def test_a_body_that_is_no_answer_is_refused_before_the_first_frame(endpoint: str, body: bytes) -> None:
    with pytest.raises(UnstreamableAnswerError, match=endpoint):
        stream_events(endpoint, body, include_usage=True)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", b'{"choices": [{"index": 0, "text": "of a completion"}]}'),
        ("/v1/chat/completions", b'{"choices": [{"message": "x"}]}'),
        ("/v1/chat/completions", b'{"choices": [{"message": {"tool_calls": [3]}}]}'),
        ("/v1/chat/completions", b'{"choices": [{"message": {"tool_calls": [{"function": "f"}]}}]}'),
        ("/v1/chat/completions", b'{"choices": [{"message": {"function_call": "f"}}]}'),
        ("/v1/responses", b'{"output": [{"type": "message", "content": "x"}]}'),
        ("/v1/responses", b'{"output": [{"type": "message", "content": [3]}]}'),
        ("/v1/responses", b'{"output": [{"type": "reasoning", "summary": [3]}]}'),
        ("/v1/responses", b'{"output": [{"type": "message", "content": [{"type": "output_text", "annotations": 3}]}]}'),
    ],
)
def test_so_is_one_with_something_else_where_its_parts_should_be(endpoint: str, body: bytes) -> None:
    with pytest.raises(UnstreamableAnswerError, match=endpoint):
        stream_events(endpoint, body, include_usage=True)


def test_the_message_of_a_refusal_does_not_quote_the_answer() -> None:
    with pytest.raises(UnstreamableAnswerError) as caught:
        stream_events("/v1/responses", b'{"output": "a secret"}', include_usage=False)
    assert "secret" not in str(caught.value)
    assert "$.output" in str(caught.value)


def test_an_endpoint_that_does_not_stream_is_refused() -> None:
    with pytest.raises(ValueError, match=r"/v1/embeddings does not stream"):
        stream_events("/v1/embeddings", b"{}", include_usage=False)


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions"])
def test_streams_of_chunks_end_with_done(endpoint: str) -> None:
    assert _frames(endpoint, ANSWERS[endpoint]["plain"])[-1] == b"data: [DONE]\n\n"


def test_a_stream_of_a_response_ends_with_its_last_event() -> None:
    assert _frames("/v1/responses", RESPONSES["plain"])[-1].startswith(b"event: response.completed\n")


def test_numbers_keep_their_spelling() -> None:
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a","x":1.50,"y":123456789012345678901}}]}'
    stream = b"".join(stream_events("/v1/chat/completions", body, include_usage=False))
    assert b'"x":1.50' in stream
    assert b'"y":123456789012345678901' in stream


def test_frames_are_encoded_one_by_one() -> None:
    body = json.dumps(RESPONSES["long text"]).encode()
    tracemalloc.start()
    try:
        longest = max(len(frame) for frame in stream_events("/v1/responses", body, include_usage=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert longest > 1_000_000
    assert peak < 5 * longest  # there are six frames of this length, and making one takes a few copies


_WIDE = {
    "choices": ("/v1/chat/completions", b'{"choices":[' + b"{}," * 100_000 + b"{}]}"),
    "names": ("/v1/chat/completions", b'{"choices":[],' + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}"),
    "calls": ("/v1/chat/completions", b'{"choices":[{"message":{"tool_calls":[' + b"{}," * 100_000 + b"{}]}}]}"),
    "calls of many choices": (
        "/v1/chat/completions",
        b'{"choices":[' + b",".join([b'{"message":{"tool_calls":[' + b"{}," * 500 + b"{}]}}"] * 500) + b"]}",
    ),
    "texts": ("/v1/completions", b'{"choices":[' + b"{}," * 100_000 + b"{}]}"),
    "items": ("/v1/responses", b'{"output":[' + b"{}," * 100_000 + b"{}]}"),
    "long ids": (
        "/v1/chat/completions",
        b'{"id":"%b","choices":[{"message":{"tool_calls":[' % (b"i" * 100_000) + b"{}," * 1_000 + b"{}]}}]}",
    ),
}


@pytest.mark.proves("faults", "an answer for a stream has thousands of parts; a failed line has megabytes of reason")
@pytest.mark.parametrize("what", _WIDE)
def test_an_answer_with_far_more_parts_than_any_honest_one_is_refused_and_takes_no_memory(what: str) -> None:
    endpoint, body = _WIDE[what]
    tracemalloc.start()
    try:
        with pytest.raises(UnstreamableAnswerError):
            list(stream_events(endpoint, body, include_usage=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body) + 10_000_000


_LARGE = {
    "bytes": (MOST_STREAMED_BYTES, b"a"),
    "elements": (2 * MOST_STREAMED_ELEMENTS, b"1,"),
}


@pytest.mark.proves("faults", "an answer for a stream has thousands of parts; a failed line has megabytes of reason")
@pytest.mark.parametrize("what", _LARGE)
def test_an_answer_that_would_hold_up_others_is_refused_with_what_to_do(what: str) -> None:
    size, piece = _LARGE[what]
    body = b'{"choices":[{"message":{"content":"%b"}}]}' % (piece * (size // len(piece)))
    with pytest.raises(UnstreamableAnswerError, match="without `stream`"):
        stream_events("/v1/chat/completions", body, include_usage=False)


@pytest.mark.parametrize(("endpoint", "name"), EVERY)
def test_a_large_answer_is_converted_in_steps_to_the_same_stream(endpoint: str, name: str) -> None:
    body = json.dumps(ANSWERS[endpoint][name]).encode() + b" " * MOST_AT_ONCE_BYTES
    steps, count = streaming(endpoint, body, include_usage=True), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            stream = end.value
            break
        count += 1
    assert stream == b"".join(stream_events(endpoint, body, include_usage=True))
    assert count >= 3


def test_log_probabilities_of_many_tokens_are_streamed() -> None:
    token = b'{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[' + b'{"token":"b","logprob":-2},' * 19 + b"{}]}"
    content = b",".join([token] * 5_000)
    body = b'{"choices":[{"message":{"role":"assistant","content":"a"},"logprobs":{"content":[%b]}}]}' % content
    frames = list(stream_events("/v1/chat/completions", body, include_usage=False))
    assert sum(frame.count(b'"top_logprobs"') for frame in frames) == 5_000
