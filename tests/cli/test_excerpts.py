"""A prompt and an answer in a few words, and tables of what others wrote."""

from __future__ import annotations

from typing import Any

import pytest

from autobatcher.cli.batch_table import age
from autobatcher.cli.excerpts import answer_excerpt, decoded, prompt_excerpt
from autobatcher.cli.text_table import text_table


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        ({"messages": [{"role": "user", "content": "first"}, {"role": "user", "content": "last\n one"}]}, "last one"),
        ({"messages": [{"role": "user", "content": "asked"}, {"role": "assistant", "content": "x"}]}, "asked"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a part"}, {"type": "image"}]}]},
            "a part",
        ),
        ({"messages": [{"role": "system", "content": "no user"}]}, "-"),
        ({"messages": [None, 7]}, "-"),
        ({"input": "embed me"}, "embed me"),
        ({"input": ["one", "two"]}, "one two"),
        ({"input": [{"role": "user", "content": "a"}, {"role": "user", "content": [{"text": "b"}]}]}, "b"),
        ({"input": [[1, 2, 3]]}, "-"),
        (
            {"prompt": "once upon a time, there was a prompt that was far too long"},
            "once upon a time, there was a prompt tha...",
        ),
        ("no object", "-"),
        (None, "-"),
    ],
)
def test_what_was_asked(body: Any, excerpt: str) -> None:
    assert prompt_excerpt(body) == excerpt


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        ({"choices": [{"message": {"content": "Yes."}}]}, "Yes."),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, "-"),
        ({"choices": [{"text": "completed"}]}, "completed"),
        ({"output": [{"type": "message", "role": "assistant", "content": [{"text": "out"}]}]}, "out"),
        ({"data": [{"embedding": [0.1, 0.2]}]}, "embedding of 2 numbers"),
        ({"error": {"message": "too long"}}, "too long"),
        ({"error": None, "id": "modr-1"}, "modr-1"),
        ("not JSON", "not JSON"),
    ],
)
def test_what_was_answered(body: Any, excerpt: str) -> None:
    assert answer_excerpt(body) == excerpt


def test_a_body_that_is_no_json_is_told_as_text() -> None:
    assert decoded(b'{"a": [1]}') == {"a": [1]}
    assert decoded(b"\xff{") == "\ufffd{"
    assert decoded(None) is None


def test_a_table_is_aligned_and_nothing_in_it_commands_a_terminal() -> None:
    table = text_table(("name", "n"), [("a\x1b[31m", "5"), ("日本", "1,000")]).plain
    assert table == "name        n\na [31m      5\n日本    1,000\n"


def test_an_age_has_one_unit() -> None:
    assert [age(seconds) for seconds in (-1, 5, 119, 120, 7200, 200_000)] == [
        "0 s",
        "5 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]
