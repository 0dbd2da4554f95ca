"""Tokens of requests before they are sent."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from autobatcher.money.calibration import Calibration
from autobatcher.money.tokens import count_input

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def tokens(body: Any, model: str = "gpt-4o", endpoint: str = CHAT, **dump: Any) -> float:
    written = body if isinstance(body, bytes) else json.dumps(body, **dump).encode()
    return count_input(model, endpoint, written).tokens


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


# The numbers of tokens are those of the open vocabularies o200k and cl100k.
SENTENCES = [
    ("The quick brown fox jumps over the lazy dog near the bank of the river, and nobody minds.", 19, 19),
    ("Der Ausschuss bespricht den neuen Haushalt am Donnerstagvormittag um zehn Uhr dreißig.", 21, 25),
    ("Комитет обсудит новый бюджет в четверг утром.", 13, 24),
    ("委员会将在星期四上午讨论新的预算。", 12, 22),
    ("위원회는 목요일 오전에 새 예산을 논의할 것입니다.", 17, 29),
    ("def mean(values):\n    total = sum(values)\n    return total / len(values)\n", 19, 19),
]


@pytest.mark.parametrize(("text", "newer", "older"), SENTENCES, ids=[text[:12] for text, *_ in SENTENCES])
def test_a_text_has_about_the_tokens_that_the_vocabulary_of_its_model_gives_it(
    text: str, newer: int, older: int
) -> None:
    """Within a third, for one sentence. What all requests have in common is learned from answers."""
    marks = tokens(said(""))
    for model, expected in (("gpt-4o-mini", newer), ("gpt-3.5-turbo", older)):
        assert tokens(said(text), model) - marks == pytest.approx(expected, rel=0.34)


def test_it_does_not_matter_how_a_body_is_written() -> None:
    body = said('Die Prüfung 試験 \U0001f600 went "well".\n')
    assert tokens(body, ensure_ascii=False) == tokens(body, ensure_ascii=True, indent=4)
    parts = [{"type": "text", "text": "Die Prüfung 試験 \U0001f600 "}, {"type": "text", "text": 'went "well".\n'}]
    assert tokens(said(parts)) == tokens(body)


def test_fields_that_no_model_reads_do_not_count() -> None:
    assert tokens({**said("hi"), "metadata": {"a": "long words " * 50}, "user": "somebody"}) == tokens(said("hi"))


def test_token_numbers_count_one_each() -> None:
    for count in (1_000, 100_000):
        numbers = [[12_345] * 500] * (count // 500)
        assert tokens({"input": numbers}, "text-embedding-3-small", EMBEDDINGS) == pytest.approx(count, rel=0.01)


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return "data:image/png;base64," + base64.b64encode(head + bytes(3_000)).decode()


def jpeg(width: int, height: int) -> str:
    thumbnail = b"\xff\xe1" + (40_000).to_bytes(2, "big") + bytes(39_998)
    frame = b"\xff\xc0\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes(3_000)
    return "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8" + thumbnail + frame).decode()


def webp(width: int, height: int) -> str:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return "data:image/webp;base64," + base64.b64encode(b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + size + bytes(99)).decode()


def gif(width: int, height: int) -> str:
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return "data:image/gif;base64," + base64.b64encode(b"GIF89a" + size + bytes(99)).decode()


PICTURES = [
    ("gpt-4o", png(1024, 1024), "high", 765),  # the examples of OpenAI's guide
    ("gpt-4o", jpeg(2048, 4096), "high", 1105),
    ("gpt-4o", jpeg(4096, 8192), "low", 85),
    ("gpt-4.1-mini", webp(1024, 1024), None, 1659),
    ("gpt-4.1-mini", png(1800, 2400), "auto", 2489),  # the guide says 1,452 patches; 1,536 are billed
    ("gpt-4o-mini", gif(512, 512), "low", 2833),
    ("openai/gpt-4o", "https://example.org/a.png", "low", 85),
]


@pytest.mark.parametrize(("model", "url", "detail", "expected"), PICTURES, ids=[f"{p[0]}-{p[3]}" for p in PICTURES])
def test_a_picture_has_the_tokens_of_the_public_rule(model: str, url: str, detail: Any, expected: int) -> None:
    chat = said([{"type": "image_url", "image_url": {"url": url, "detail": detail}}])
    assert tokens(chat, model) - tokens(said(""), model) == expected
    response = {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": detail}]}]}
    assert tokens(response, model, "/v1/responses") - tokens(said(""), model) == expected


UNKNOWN = [
    ("gpt-4o", said([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]), "picture"),
    ("pixtral", said([{"type": "image_url", "image_url": {"url": png(64, 64)}}]), "picture"),
    ("gpt-4o", said([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), "picture"),
    ("gpt-4o", said([{"type": "file", "file": {"file_id": "file-1"}}]), "a file"),
    ("gpt-4o", said([{"type": "input_audio", "input_audio": {"data": "A" * 999, "format": "wav"}}]), "audio"),
    ("gpt-4o", {"input": "go on", "previous_response_id": "resp_1"}, "earlier calls"),
    ("gpt-4o", {"input": "find it", "tools": [{"type": "web_search"}]}, "tools"),
]


@pytest.mark.parametrize(("model", "body", "what"), UNKNOWN, ids=[what for *_, what in UNKNOWN])
def test_what_cannot_be_counted_is_named(model: str, body: Any, what: str) -> None:
    counted = count_input(model, CHAT, json.dumps(body).encode())
    assert what in " ".join(counted.unknown)
    assert counted.tokens < 50, "what is inside is no text"


ODD = [
    {"type": {}},
    {"type": []},
    {"image_url": 3},
    {"type": "image_url", "image_url": {"url": None}},
    5,
    None,
    [None],
    {"text": 1},
]


@pytest.mark.parametrize("part", ODD)
def test_odd_values_do_not_stop_the_count(part: Any) -> None:
    """Callers choose them, and a provider will refuse them. Until then they must not fail an estimate."""
    for body in (said([part]), said(part), {"messages": part}, {"input": [part]}, {"prompt": part}, {"tools": [part]}):
        assert tokens(body) >= 0
    assert tokens(b"5") >= 0


HOSTILE = {
    "nested lists": b'{"messages":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "empty lists": b'{"messages":[' + b"[]," * 330_000 + b"[]]}",
    "small objects": b'{"messages":[' + b'{"a":{}},' * 110_000 + b"{}]}",
    "hard numbers": b'{"messages":[' + b"5e-324," * 140_000 + b"1]}",
    "escapes": b'{"messages":[{"content":"' + b"\\u4f60" * 160_000 + b'"}]}',
    "halves of characters": b'{"messages":[{"content":"' + b"\\ud800" * 160_000 + b'"}]}',
    "pictures": b'{"messages":["' + b"data:image/" * 90_000 + b'"]}',
    "no JSON": b'"' * 1_000_000,
    "no UTF-8": b'{"messages":["' + b"\xff" * 1_000_000 + b'"]}',
    "an honest long text": json.dumps(said("word " * 200_000)).encode(),
}


@pytest.mark.real_time
def test_a_megabyte_of_anything_is_counted_in_a_few_milliseconds() -> None:
    """20 ms are promised. Machines of CI are slow and busy, so the quickest of some tries may take thrice as long."""
    for name, body in HOSTILE.items():
        took = []
        for _ in range(4):
            begun = time.perf_counter()
            counted = count_input("gpt-4o", CHAT, body).tokens
            took.append(time.perf_counter() - begun)
        assert 0 < counted <= 1.1 * len(body), name
        assert min(took) < 0.06, name


def test_a_large_body_is_judged_by_samples_that_leave_out_pictures() -> None:
    text = "You are welcome to read this. " * 150_000
    whole = tokens(said(text))
    assert whole == pytest.approx(10 * tokens(said(text[: len(text) // 10])), rel=0.02)
    picture = {"type": "image_url", "image_url": {"url": png(1024, 1024) + "A" * 5_000_000}}
    assert tokens(said([{"type": "text", "text": text}, picture])) - whole == pytest.approx(765, rel=0.3)


def test_the_pictures_of_a_request_count_against_a_cap() -> None:
    small: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
    unknown: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    assert _most_input("gpt-4o-mini", small) >= 2_833
    assert _most_input("gpt-4o-mini", unknown) >= 2_833 + 8 * 5_667
    assert _most_input("some-model", unknown) < 1_000  # no rule is known


def _most_input(model: str, part: dict[str, Any]) -> int:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": [part]}]}).encode()
    return Calibration().most(model, "/v1/chat/completions", body).input
