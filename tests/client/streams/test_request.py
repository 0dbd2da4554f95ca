from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.client.streams import without_streaming

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("a\u2028é\n"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def test_stream_and_its_options_are_taken_out_and_the_rest_keeps_its_bytes() -> None:
    body = b'{"model":"m", "stream":  true,"x":1.50,"stream_options":{"include_usage":true},"y":{"stream" : true}}'
    asked = without_streaming(body)
    assert asked == (b'{"model":"m","x":1.50,"y":{"stream" : true}}', True, True)


@pytest.mark.parametrize(
    ("options", "include_usage"),
    [
        ({}, False),
        ({"stream_options": None}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": True, "include_obfuscation": False}}, True),
        ({"stream_options": {"include_usage": "yes"}}, False),
        ({"stream_options": [1]}, False),
    ],
)
def test_usage_is_included_only_if_the_options_say_so(options: dict[str, Any], include_usage: bool) -> None:
    asked = without_streaming(json.dumps({"model": "m", "stream": True, **options}).encode())
    assert asked == (b'{"model":"m"}', True, include_usage)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{ "model": "m", "stream": false }',
        b'{"stream": null, "stream_options": null}',
        b'{"stream": "true"}',
        b'{"stream": 1}',
        b'{"x": {"stream": true}}',
        b'["stream", true]',
        b'{"stream": true',
        b'{"stream": true} x',
        b"",
        b"\xff",
        b'{"stream": true, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: body[:40],
)
def test_any_other_body_comes_back_untouched(body: bytes) -> None:
    asked = without_streaming(body)
    assert asked.body is body
    assert (asked.wants_stream, asked.include_usage) == (False, False)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.booleans(), st.sampled_from([None, 0, 2]))
def test_unknown_fields_survive(fields: dict[str, Any], ensure_ascii: bool, indent: int | None) -> None:
    body = json.dumps({**fields, "stream": True}, ensure_ascii=ensure_ascii, indent=indent).encode()
    asked = without_streaming(body)
    assert asked.wants_stream
    assert json.loads(asked.body) == {name: value for name, value in fields.items() if name != "stream_options"}
