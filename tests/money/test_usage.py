from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from autobatcher.money.usage import LARGE_BYTES, Usage, usage_of

SAID: list[tuple[str, Any, Usage | None]] = [
    (
        "chat completions",
        {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        Usage(20, 8, 9, 4),
    ),
    (
        "responses",
        {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 29,
        },
        Usage(20, 8, 9, 4),
    ),
    ("embeddings", {"prompt_tokens": 20, "total_tokens": 20}, Usage(20)),
    ("the cache in DeepSeek's words", {"prompt_tokens": 20, "prompt_cache_hit_tokens": 8}, Usage(20, 8)),
    (
        "reasoning that is in the total alone",
        {
            "prompt_tokens": 20,
            "completion_tokens": 5,
            "total_tokens": 29,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        Usage(20, 0, 9, 4),
    ),
    ("both names, one of them zero", {"prompt_tokens": 0, "input_tokens": 20}, Usage(20)),
    (
        "more in the cache than was read",
        {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
        Usage(3, 3),
    ),
    ("details that are null", {"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3)),
    ("details of another type", {"prompt_tokens": 3, "prompt_tokens_details": []}, Usage(3)),
    ("a whole number with a point", {"prompt_tokens": 3.0}, Usage(3)),
    ("a count that is none", {"prompt_tokens": -3, "completion_tokens": 2}, Usage(0, 0, 2)),
    ("a text among the counts", {"prompt_tokens": "3", "completion_tokens": 2}, Usage(0, 0, 2)),
    ("a number without end", {"prompt_tokens": 10**18, "completion_tokens": 2}, Usage(0, 0, 2)),
    ("seconds instead of tokens", {"type": "duration", "seconds": 12}, None),
    ("null", None, None),
    ("a list", [1], None),
]


@pytest.mark.parametrize(("said", "usage"), [(said, usage) for _, said, usage in SAID], ids=[name for name, *_ in SAID])
def test_usage_is_read_in_the_words_of_every_endpoint(said: Any, usage: Usage | None) -> None:
    assert usage_of(msgspec.json.encode({"id": "1", "choices": [{"text": "hi"}], "usage": said})) == usage


def test_what_stands_elsewhere_in_the_body_does_not_hide_its_usage() -> None:
    """The reader of result lines takes such bodies, so their callers pay for them."""
    usage = b'"usage": {"prompt_tokens": 20, "completion_tokens": 9}'
    for odd in (b'"\\ud83d"', b"NaN", b'"\xff"', b'"a\nb"'):
        assert usage_of(b'{"choices": [' + odd + b"], " + usage + b"}") == Usage(20, 0, 9)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"usage": {', b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_a_body_without_usage_reports_none(body: bytes) -> None:
    assert usage_of(body) is None


def test_usage_adds_up() -> None:
    assert Usage(1, 2, 3, 4).plus(Usage(10, 20, 30, 40)) == Usage(11, 22, 33, 44)


@pytest.mark.parametrize("place", ["end", "beginning", "nowhere", "in a text"])
def test_of_a_large_body_both_ends_are_read(place: str) -> None:
    usage = {"usage": {"prompt_tokens": 7, "total_tokens": 7}}
    vectors = {"data": [[0.1] * 1000] * 1200}
    texts = {"choices": ['"usage": {"prompt_tokens": 1}' * 10]}
    body = {
        "end": {**vectors, **texts, **usage, "id": "x"},
        "beginning": {"id": "x", **usage, **vectors},
        "nowhere": vectors,
        "in a text": {**vectors, **texts},
    }[place]
    content = json.dumps(body).encode()
    assert len(content) > LARGE_BYTES
    assert usage_of(content) == (Usage(7) if place in ("end", "beginning") else None)
