"""JSON that is read in pieces, and the digests of bodies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.engine import json_scan
from autobatcher.engine.digest import canonical, digest_of
from autobatcher.engine.json_scan import (
    MOST_CONTAINERS,
    MOST_ELEMENTS,
    MOST_NESTING,
    MOST_VALUES,
    JSONScan,
    OversizeError,
    is_large,
    large_form,
    name_count,
)
from autobatcher.turns import at_once

TEXTS = st.text('ab"\\/ :,[]{}\n€😀', max_size=6)
VALUES: Any = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def names_of(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(names_of, value.values()))
    return sum(map(names_of, value)) if isinstance(value, list) else 0


@given(VALUES, st.booleans(), st.integers(1, 9))
def test_a_large_form_depends_neither_on_white_space_nor_on_pieces(value: Any, ensure_ascii: bool, size: int) -> None:
    whole = json.dumps(value, ensure_ascii=ensure_ascii).encode()
    spacious = json.dumps(value, ensure_ascii=ensure_ascii, indent="\t ").encode()
    expected = at_once(large_form(whole))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scan, "PIECE_BYTES", size)
        assert at_once(large_form(whole)) == at_once(large_form(spacious)) == expected
        assert at_once(name_count(spacious)) == names_of(value)


@given(VALUES, VALUES)
def test_large_forms_of_unequal_bodies_differ(one: Any, other: Any) -> None:
    bodies = [json.dumps(value).encode() for value in (one, other)]
    assert (at_once(large_form(bodies[0])) == at_once(large_form(bodies[1]))) is (bodies[0] == bodies[1])


@pytest.mark.parametrize(
    "nested",
    [
        lambda depth: b"[" * depth + b"]" * depth,
        lambda depth: b'{"a":' * depth + b"1" + b"}" * depth,
        lambda depth: (b"[" * depth + b'"["' + b"]" * depth) * 3,
        lambda depth: b'"[[[\\"[["' * 900 + b"[" * depth,
    ],
)
def test_the_deepest_nesting_is_found_to_the_level(nested: Callable[[int], bytes]) -> None:
    at_once(large_form(nested(MOST_NESTING)))
    with pytest.raises(OversizeError, match="750 levels"):
        at_once(large_form(nested(MOST_NESTING + 1)))


def test_more_lists_and_objects_than_any_honest_body_are_refused() -> None:
    JSONScan().feed(b"[]" * MOST_CONTAINERS + b'"[]{}"' * 10)
    with pytest.raises(OversizeError, match="1,000,000 lists"):
        JSONScan().feed(b"{}" * (MOST_CONTAINERS + 1))


def test_more_values_than_any_honest_body_are_refused() -> None:
    scan, piece = JSONScan(), b"1," * 1_000_000
    for _ in range(MOST_VALUES // 1_000_000):
        scan.feed(piece)
    with pytest.raises(OversizeError, match="20,000,000 values"):
        scan.feed(piece)


# ---- digests ----


@pytest.mark.parametrize(
    ("twice", "once"),
    [
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b'{"a":2,"a":2}', b'{"a":2}'),
        (b'{"x":[{"a":1, "a":2}]}', b'{"x":[{"a":2}]}'),
        (b'{"t":"\\u003a","a":1,"a":2}', b'{"t":":","a":2}'),
        (b'{"t":"\\u003A","a":1,"\\u0061":2}', b'{"t":":","a":2}'),
    ],
)
def test_a_body_with_a_name_that_comes_twice_is_not_the_one_without(twice: bytes, once: bytes) -> None:
    assert digest_of("/v1/embeddings", twice, b"a") != digest_of("/v1/embeddings", once, b"a")


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans())
def test_a_body_without_such_a_name_keeps_the_digest_that_journals_have(value: Any, ensure_ascii: bool) -> None:
    body = json.dumps({**value, "colon": "COLON"}, ensure_ascii=ensure_ascii).replace("COLON", "\\u003a").encode()
    assert canonical(body) == msgspec.json.encode({**value, "colon": ":"}, order="deterministic")


def test_only_bodies_with_very_many_elements_or_bytes_are_large() -> None:
    assert not is_large(b"[" + b"," * (MOST_ELEMENTS - 1))
    assert is_large(b"[" + b"," * MOST_ELEMENTS)
    assert not is_large(b"x" * 4_000_000)
    assert is_large(b"x" * 4_000_001)
