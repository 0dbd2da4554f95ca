"""Members of a JSON object, cut out as they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.upstream.tolerant_json import members

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), anything, max_size=5), st.booleans())
def test_whatever_the_standard_library_writes_is_cut_out_as_it_stands(value: dict[str, Any], is_ascii: bool) -> None:
    parts = {name: json.dumps(inner, ensure_ascii=is_ascii) for name, inner in value.items()}
    written = "{" + ", ".join(f"{json.dumps(name)}: {part}" for name, part in parts.items()) + "}"
    found = members(written.encode("utf-8", "surrogatepass"))
    assert {name: found[name].decode("utf-8", "surrogatepass") for name in found} == parts


@pytest.mark.parametrize(
    ("written", "body"),
    [
        (b'{"body": "half \\ud83d"}', b'"half \\ud83d"'),
        (b'{"body": [NaN, Infinity, -Infinity]}', b"[NaN, Infinity, -Infinity]"),
        (b'{"body": %s}' % (b"1" * 10_000), b"1" * 10_000),
        (b'{"body": 1e999}', b"1e999"),
        (b'{"body": "\xff\xfe"}', b'"\xff\xfe"'),
        (b'{"body": "a\x00b\tc"}', b'"a\x00b\tc"'),
        (b'\xef\xbb\xbf{"body": 1}', b"1"),
        (b'\x00{"body": 1}\x00\x00', b"1"),
        (b'{"body": 1, "body": 2}', b"2"),
        (b'{"body":{"a":1,"a":2}}', b'{"a":1,"a":2}'),
        (b'{"body": %s1%s}' % (b"[" * 500, b"]" * 500), b"%s1%s" % (b"[" * 500, b"]" * 500)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_values_are_kept_to_the_byte(written: bytes, body: bytes) -> None:
    assert members(written)["body"] == body


@pytest.mark.parametrize(
    "written",
    [
        *(b"", b"[]", b"<html>", b'{"a"', b'{"a":}', b'{"a":1,}', b'{"a":1} x', b"{a:1}", b'{"a":1', b"\x00"),
        *(b"[" * 100_000, b'{"a":' + b"[" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_object_is_refused(written: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (whichever it is)
        members(written)


def test_an_empty_object_has_no_members() -> None:
    assert members(b" { } ") == {}
