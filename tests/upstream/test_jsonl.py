from __future__ import annotations

import io
import json
import time
import tracemalloc
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.upstream.jsonl import (
    PIECE_BYTES,
    InputFile,
    InputLines,
    LineSplitter,
    Overlong,
    most_line_bytes,
)
from autobatcher.upstream.large_line import parse_large_line
from autobatcher.upstream.output_line import OutputLine, parse_output_line


class Asked(NamedTuple):
    body: bytes
    endpoint: str = "/v1/chat/completions"


def whole(*requests: tuple[str, Asked]) -> bytes:
    return b"".join(InputLines(requests, str).pieces())


def test_an_input_line_carries_the_body_byte_for_byte() -> None:
    body = '{"model": "m", "x": "\u2028 ü"}'.encode()
    line = whole(("id-1", Asked(body)))
    assert body in line
    assert json.loads(line) == {
        "custom_id": "id-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "x": "\u2028 ü"},
    }


def test_a_pretty_printed_body_becomes_one_line() -> None:
    body = json.dumps({"model": "m", "x": "a\nb"}, indent=2).encode()
    line = whole(("id", Asked(body)))
    assert line.count(b"\n") == 1
    assert json.loads(line)["body"] == {"model": "m", "x": "a\nb"}


def test_each_line_has_the_url_of_its_endpoint() -> None:
    requests = [("1", Asked(b"{}")), ("2", Asked(b"{}", "/v1/responses")), ("3", Asked(b"{}"))]
    lines = InputLines(requests, lambda endpoint: endpoint.replace("/v1", "/v4-of-x"))
    written = b"".join(lines.pieces())
    assert [json.loads(line)["url"] for line in written.splitlines()] == [
        "/v4-of-x/chat/completions",
        "/v4-of-x/responses",
        "/v4-of-x/chat/completions",
    ]
    assert lines.size == len(written)


@given(st.text("abc-0123", min_size=1, max_size=64), st.binary(max_size=50))
def test_the_size_told_for_a_line_is_its_size(custom_id: str, body: bytes) -> None:
    requests = [(custom_id, Asked(body, "/v1/embeddings"))]
    size = InputLines(requests, str).size
    assert len(whole(*requests)) == size <= most_line_bytes("/v1/embeddings", body)


@given(st.lists(st.sampled_from([1, 30, 100_000, PIECE_BYTES - 100, PIECE_BYTES, 3 * PIECE_BYTES]), max_size=8))
def test_an_input_file_reads_as_its_lines_in_pieces_of_like_size(sizes: list[int]) -> None:
    requests = [(str(number), Asked(b"x" * size)) for number, size in enumerate(sizes)]
    expected = b"".join(whole(request) for request in requests)
    file = InputFile(InputLines(requests, str))
    for _ in range(2):  # a retried upload reads the file again
        pieces = list(iter(file.read, b""))
        assert b"".join(pieces) == expected
        assert all(len(piece) <= 2 * PIECE_BYTES for piece in pieces)
        assert all(len(piece) >= PIECE_BYTES for piece in pieces[:-1])
        assert file.tell() == len(expected)
        file.seek(0)


def test_a_long_line_is_not_copied_for_each_piece_that_is_read_of_it() -> None:
    requests = [("1", Asked(b"x" * 32_000_000)), ("2", Asked(b"end"))]
    file = InputFile(InputLines(requests, str))
    begun = time.process_time()
    pieces = list(iter(file.read, b""))
    assert time.process_time() - begun < 1.5  # it took five seconds
    assert b"".join(pieces) == whole(*requests)


def test_an_input_file_tells_its_length_without_being_read() -> None:
    requests = [("1", Asked(b"abc")), ("2", Asked(b"de"))]
    file = InputFile(InputLines(requests, str))
    assert file.seek(0, io.SEEK_END) == len(whole(*requests))
    assert file.read(10) == b""
    with pytest.raises(io.UnsupportedOperation):
        file.seek(3)


@given(st.lists(st.text("ab \u2028\x85\r", max_size=6)), st.data())
def test_lines_are_cut_at_newlines_only_wherever_the_chunks_end(texts: list[str], data: st.DataObject) -> None:
    stream = "\n".join(texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter()
    found: list[bytes | Overlong] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    found += splitter.rest()
    assert found == [line for line in stream.split(b"\n") if line.strip()]


@given(st.lists(st.text("ab \r", max_size=9)), st.data())
def test_of_a_line_that_is_too_long_the_beginning_is_told_and_the_others_are_whole(
    texts: list[str], data: st.DataObject
) -> None:
    stream = "\n".join(texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter(max_bytes=5)
    found: list[bytes | Overlong] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    found += splitter.rest()
    whole = [line for line in stream.split(b"\n") if line.strip() or len(line) > 5]
    for line, expected in zip(found, whole, strict=True):
        assert expected.startswith(line.beginning) if isinstance(line, Overlong) else expected == line
        assert isinstance(line, Overlong) == (len(expected) > 5)


def test_a_line_without_end_takes_no_more_memory_than_lines_may_have() -> None:
    splitter = LineSplitter(max_bytes=1_000_000)
    tracemalloc.start()
    try:
        for _ in range(2_000):
            splitter.feed(b"x" * 50_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    (line,) = splitter.rest()
    assert isinstance(line, Overlong)


def _line(**fields: object) -> bytes:
    return json.dumps({"id": "batch_req_1", "custom_id": "c", **fields}).encode()


NESTED = {"type": "NonRetriableHttpStatus", "details": {"status": 422, "body": '{"error":{"message":"bad"}}'}}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            _line(response={"status_code": 200, "request_id": "r", "body": {"a": 1}}, error=None),
            OutputLine("c", 200, b'{"a": 1}', "r"),
        ),
        (
            _line(response={"status_code": 429, "request_id": None, "body": {"error": {}}}),
            OutputLine("c", 429, b'{"error": {}}'),
        ),
        (_line(response={"body": {"a": 1}}), OutputLine("c", 200, b'{"a": 1}')),
        (_line(response={"status_code": "200", "body": {"a": 1}}), OutputLine("c", 200, b'{"a": 1}')),
        (_line(response={"status_code": 200, "body": '{"a": 1}'}), OutputLine("c", 200, b'{"a": 1}')),
        (_line(response={"status_code": 200, "body": "no json"}), OutputLine("c", 200, b'"no json"')),
        (
            _line(response=None, error={"code": "batch_expired", "message": "too late"}),
            OutputLine("c", error_code="batch_expired", error="too late"),
        ),
        (
            _line(response=None, error={"code": None, "message": json.dumps(NESTED)}),
            OutputLine("c", 422, b'{"error":{"message":"bad"}}'),
        ),
        (_line(error="in words"), OutputLine("c", error="in words")),
        (_line(response={"status_code": 404.0, "body": {"a": 1}}), OutputLine("c", 404, b'{"a": 1}')),
        (_line(response={"status_code": None, "body": {"a": 1}}), OutputLine("c", 200, b'{"a": 1}')),
        (_line(response={"status_code": 200, "request_id": "r" * 300, "body": {}}), OutputLine("c", 200, b"{}")),
        (_line(), OutputLine("c", error="no reason given")),
    ],
)
def test_an_output_line_of_any_known_kind_is_read(line: bytes, expected: OutputLine) -> None:
    assert parse_output_line(line) == expected


def test_a_null_body_with_an_http_status_keeps_its_status() -> None:
    line = parse_output_line(_line(response={"status_code": 400, "body": None}, error="stream mode"))
    assert line is not None
    assert line.status_code == 400
    assert json.loads(line.body)["error"]["message"] == "stream mode"


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id": null, "response": {"status_code": 200, "body": {}}}',
        b'{"response": {"status_code": 200, "body": {}}}',
        b'{"custom_id": "c", "response": {"status_code": 200, "bo',
        b"[1, 2]",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_result_line_belongs_to_nobody(line: bytes) -> None:
    assert parse_output_line(line) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": _json,
            "response": _json | st.fixed_dictionaries({}, optional={"status_code": _json, "body": _json}),
            "error": _json | st.fixed_dictionaries({}, optional={"code": _json, "message": _json}),
        },
    )
)
def test_no_line_whatever_its_types_makes_reading_fail(fields: dict[str, object]) -> None:
    line = parse_output_line(json.dumps(fields).encode())
    assert (line is not None) == isinstance(fields.get("custom_id"), str)


@given(st.binary())
def test_no_bytes_make_reading_fail(line: bytes) -> None:
    parse_output_line(line)


@pytest.mark.parametrize(
    "status", [0, 42, 100, 199, 204, 302, 304, 600, 1000, -5, 10**30, 200.5, True, "abc", [200], {}]
)
def test_an_answer_whose_status_is_none_is_an_error_with_the_line(status: object) -> None:
    written = _line(response={"status_code": status, "body": {"choices": []}})
    line = parse_output_line(written)
    assert line is not None
    assert (line.status_code, line.error_code, line.raw) == (None, "invalid_status", written)
    failed = parse_output_line(_line(response={"status_code": status, "body": {"error": {"message": "why"}}}))
    assert failed is not None
    assert (failed.status_code, failed.error) == (None, "why")


# ---- very large lines ----

_texts = st.text('ab"\\{}[]:, é', max_size=12) | st.sampled_from(["body", "response", '"body":{'])
_values = st.recursive(
    st.none() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


def _in_steps(line: bytes) -> OutputLine | None:
    steps = parse_large_line(line)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@given(st.dictionaries(_texts, _values, max_size=3), _values, st.booleans(), st.integers(0, 3))
def test_a_line_read_in_steps_is_the_line_read_at_once(
    body: dict[str, Any], beside: Any, is_text: bool, place: int
) -> None:
    members: list[tuple[str, Any]] = [("id", beside), ("custom_id", "c"), ("error", None)]
    sent = json.dumps(body) if is_text else body
    members.insert(place, ("response", {"x": beside, "status_code": 200, "body": sent, "request_id": "r"}))
    line = json.dumps(dict(members)).encode()
    assert _in_steps(line) == parse_output_line(line)


def test_no_step_of_a_large_line_takes_long() -> None:
    body = b'{"a": "%b", "b": [%b]}' % (b"\\n" * 500_000, b",".join([b"[]"] * 200_000))
    line = b'{"custom_id": "c", "response": {"status_code": 200, "body": %b}}' % body
    steps, longest, begun = parse_large_line(line), 0.0, time.thread_time()
    for _ in steps:
        longest, begun = max(longest, time.thread_time() - begun), time.thread_time()
    assert longest < 0.1
