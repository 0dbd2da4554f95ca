"""How a response object ends, whatever the upstream answers."""

from __future__ import annotations

import pytest

from autobatcher.server import response_object


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (b'{"id": "a", "x": NaN, "y": "\xff"}', "completed", b'"x":NaN,"y":"\xff"'),
        (b'{"id": "\\ud800", "\\ud800": 1}', "completed", b'"\\ud800":1'),
        (b'{"id": "a", "status": "incomplete"}', "incomplete", b"incomplete"),
        (b'{"id": "a", "status": 7}', "completed", b"resp_bg_x"),
        (b'{"id": "a", "status": "in_progress"}', "failed", b"left the response in_progress"),
        (b"[]", "failed", b"no response object"),
        (b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "failed", b"no response object"),
    ],
)
def test_whatever_the_upstream_answers_a_response_ends(answer: bytes, status: str, told: bytes) -> None:
    begun = response_object.begun("resp_bg_x", b'{"model": "m", "input": "x"}', 1.0)
    end = response_object.ended(begun, {"status_code": 200, "headers": {}, "content": answer})
    assert end.status == status
    assert told in end.response
    assert end.response.count(b'"id":') == 1
    assert b'"id":"resp_bg_x"' in end.response
