"""The files of `autobatcher batch`: lines in, lines out, and what is known of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from autobatcher import Answer, BatchEndedError, DeadlineMissedError
from autobatcher.files import input_lines as input_lines_module
from autobatcher.files.duplicates import Duplicate, survey
from autobatcher.files.input_file import InputError, InputFile
from autobatcher.files.input_lines import BadLine, InputLine, input_lines
from autobatcher.files.known_ids import KnownIds
from autobatcher.files.output_file import OutputError, OutputFile
from autobatcher.files.output_lines import answer_line, failure_line

CHAT = "/v1/chat/completions"


def lines_of(content: bytes, endpoint: str | None = None) -> list[InputLine | BadLine]:
    return list(input_lines(io.BytesIO(content), endpoint))


def test_a_line_of_the_batch_api_is_read_as_it_stands() -> None:
    body = b'{"model": "m",  "messages": [], "n": 1.0}'
    line = b'{"custom_id": "a\\u00e9 b", "method": "POST", "url": "%b", "body": %b}' % (CHAT.encode(), body)
    expected = [InputLine(1, "aé b", CHAT, body), InputLine(3, "aé b", CHAT, body)]
    assert lines_of(b"\xef\xbb\xbf" + line + b"\r\n\n" + line) == expected


def test_bare_bodies_are_numbered_by_their_lines() -> None:
    expected = [InputLine(1, "line-1", CHAT, b'{"model": "m"}'), InputLine(3, "line-3", CHAT, b"{}")]
    assert lines_of(b'{"model": "m"}\n\n{}\n', CHAT) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "not valid JSON"),
        ('{"custom_id": "a"', "not valid JSON"),
        ("[]", "no line of a batch"),
        ('{"custom_id": 3, "url": "/v1/embeddings", "body": {}}', "no line of a batch"),
        ('{"url": "/v1/embeddings", "body": {}}', "no custom_id"),
        ('{"model": "m"}', "--endpoint"),
        ('{"custom_id": "a", "url": "/v1/embeddings"}', "no body"),
        ('{"custom_id": "a", "body": {}}', "no url"),
        ('{"custom_id": "a", "url": "/v1/files", "body": {}}', "/v1/files"),
        ('{"custom_id": "a", "url": "/v1/embeddings", "method": "GET", "body": {}}', "POST"),
        ('{"custom_id": "\udcff", "url": "/v1/embeddings", "body": {}}', "not valid JSON"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(line: str, reason: str) -> None:
    good = b'{"custom_id": "a", "url": "/embeddings", "body": {}}\n'
    first, bad, last = lines_of(good + line.encode(errors="surrogateescape") + b"\n" + good)
    assert first == InputLine(1, "a", "/v1/embeddings", b"{}")
    assert last == InputLine(3, "a", "/v1/embeddings", b"{}")
    assert isinstance(bad, BadLine)
    assert bad.number == 2
    assert reason in bad.reason


def test_a_line_without_an_end_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_lines_module, "MAX_LINE_BYTES", 64)
    long, good = lines_of(b"x" * 1000 + b"\n{}", CHAT)
    assert isinstance(long, BadLine)
    assert good == InputLine(2, "line-2", CHAT, b"{}")


def test_ids_that_come_twice_are_found_with_both_lines() -> None:
    ids = [f"id {number}" for number in range(5000)]
    ids[4000] = "id 17"
    lines = [InputLine(number, custom_id, CHAT, b"{}") for number, custom_id in enumerate(ids, start=1)]
    found = survey(lambda: lines, lambda _: None, lambda _: None)
    assert found.duplicates == [Duplicate("id 17", 18, 4001)]
    assert found.lines == 5000


def test_known_ids_are_known_and_others_are_not() -> None:
    known = KnownIds()
    assert all(known.add(f"{number}") for number in range(100_000))
    assert not known.add("99999")
    assert len(known) == 100_000
    assert "5" in known
    assert "\udcff" not in known
    assert "100000" not in known
    assert sum(map(len, known._digests.values())) == 800_000


def read(line: bytes) -> Any:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_an_answer_is_a_line_of_the_batch_api_with_its_body_as_it_was_sent() -> None:
    body = b'{"a":\n1.50, "b": "\\n"}'
    line = answer_line('user "1"', Answer(200, body, "req_1", "batch_1", "key-7"))
    assert read(line) == {
        "id": "batch_req_key-7",
        "custom_id": 'user "1"',
        "response": {"status_code": 200, "request_id": "req_1", "body": {"a": 1.5, "b": "\n"}},
        "error": None,
    }
    assert b'1.50, "b"' in line


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>\n", {"error": {"message": "<html>\n"}}),
        (b'{"a": NaN, "a": 2}', {"a": 2}),
        (b"", {"error": {"message": ""}}),
    ],
)
def test_a_body_that_is_no_json_makes_no_broken_line(body: bytes, expected: Any) -> None:
    assert read(answer_line("a", Answer(502, body, None, "", "")))["response"]["body"] == expected


def test_a_failure_without_a_response_is_an_error_with_a_code() -> None:
    line = read(failure_line("a", BatchEndedError("Too\nlate.", status="expired", custom_id="key-7")))
    assert line["error"] == {"code": "batch_expired", "message": "Too\nlate."}
    assert line["response"] is None
    assert line["id"] == "batch_req_key-7"
    assert read(failure_line("a", DeadlineMissedError("Missed.")))["error"]["code"] == "deadline_missed"


LINES = b"".join(answer_line(f"{number}", Answer(200, b"{}", None, "b", f"k-{number}")) for number in range(3))


@pytest.mark.parametrize("left", range(1, 60, 7))
def test_the_beginning_of_a_line_at_the_end_is_dropped(left: int, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(LINES + LINES[:left])
    known = KnownIds()
    with OutputFile(str(path)) as output:
        found = output.open(known, {"k-1", "k-9"})
        assert path.read_bytes() == LINES
        output.write(LINES)
    assert path.read_bytes() == LINES + LINES
    assert found.written == ["k-1"]
    assert len(known) == 3


def test_a_line_that_lacks_only_its_end_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(LINES[:-1])
    with OutputFile(str(path)) as output:
        output.open(KnownIds(), ())
    assert path.read_bytes() == LINES


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", LINES + b'{"custom_id": 3}\n', LINES + b"{\n"])
def test_a_file_with_other_lines_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(content)
    with OutputFile(str(path)) as output, pytest.raises(OutputError, match="no line of an output"):
        output.open(KnownIds(), ())
    assert path.read_bytes() == content


def test_a_compressed_input_is_read_and_a_broken_one_is_told(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 1000))
    taken = InputFile(str(path), CHAT, limit=7)
    assert len(list(taken.lines())) == len(list(taken.lines())) == 7
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"in\.jsonl\.gz"):
        list(InputFile(str(path), CHAT).lines())
