from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.upstream.jsonl import InputFile, LineSplitter, input_line, input_line_size, most_line_bytes
from autobatcher.upstream.output_line import OutputLine, parse_output_line


def test_an_input_line_carries_the_body_byte_for_byte() -> None:
    body = '{"model": "m", "x": "\u2028 ü"}'.encode()
    line = input_line("id-1", "/v1/chat/completions", body)
    assert body in line
    assert json.loads(line) == {
        "custom_id": "id-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "x": "\u2028 ü"},
    }


def test_a_pretty_printed_body_becomes_one_line() -> None:
    body = json.dumps({"model": "m", "x": "a\nb"}, indent=2).encode()
    line = input_line("id", "/v1/responses", body)
    assert line.count(b"\n") == 1
    assert json.loads(line)["body"] == {"model": "m", "x": "a\nb"}


@given(st.text("abc-0123", min_size=1, max_size=64), st.binary(max_size=50))
def test_the_size_told_for_a_line_is_its_size(custom_id: str, body: bytes) -> None:
    size = input_line_size(custom_id, "/v1/embeddings", body)
    assert len(input_line(custom_id, "/v1/embeddings", body)) == size <= most_line_bytes("/v1/embeddings", body)


@given(st.lists(st.binary(min_size=1, max_size=30)), st.integers(min_value=1, max_value=40))
def test_an_input_file_reads_as_its_lines_whatever_the_chunk_size(lines: list[bytes], chunk: int) -> None:
    whole = b"".join(lines)
    file = InputFile(lines, len(whole))
    for _ in range(2):  # a retried upload reads the file again
        assert b"".join(iter(lambda: file.read(chunk) or b"", b"")) == whole
        assert file.tell() == len(whole)
        file.seek(0)


def test_a_long_line_is_not_copied_for_each_chunk_that_is_read_of_it() -> None:
    line = b"x" * 32_000_000
    file = InputFile([line, b"end"], len(line) + 3)
    begun = time.process_time()
    chunks = list(iter(lambda: file.read(65_536) or b"", b""))
    assert time.process_time() - begun < 1.5  # it took five seconds
    assert b"".join(chunks) == line + b"end"


def test_an_input_file_tells_its_length_without_being_read() -> None:
    def unread() -> list[bytes]:
        raise AssertionError("read")

    file = InputFile([b"abc\n", b"de\n"], 7)
    assert file.seek(0, io.SEEK_END) == 7
    assert file.read(10) == b""
    with pytest.raises(io.UnsupportedOperation):
        file.seek(3)


@given(st.lists(st.text("ab \u2028\x85\r", max_size=6)), st.data())
def test_lines_are_cut_at_newlines_only_wherever_the_chunks_end(texts: list[str], data: st.DataObject) -> None:
    stream = "\n".join(texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    found += splitter.rest()
    assert found == [line for line in stream.split(b"\n") if line.strip()]


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
