"""Parsing never raises, whatever JSON an upstream sends, and the result can always be serialised."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher.client.http_parts import answer_parts, error_parts
from autobatcher.engine.outcomes import line_outcome
from autobatcher.engine.request import Answer
from autobatcher.events import BatchProgress
from autobatcher.upstream.batch_state import parse_batch
from autobatcher.upstream.output_line import parse_output_line
from tests.harness import HTTP

EXAMPLES = settings(max_examples=400, derandomize=True)

Values = st.SearchStrategy[Any]

# Lone surrogates, non-ASCII digits, numbers longer than Python's limit.
odd_texts = ["", "é", "a\nb", "1" * 5000, "\ud800", "completed", "failed", "batch_1", "٣"]
texts = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(odd_texts)
anything: Values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=True) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def objects(fields: dict[str, Values]) -> Values:
    """JSON objects with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


nested_failures = st.builds(
    lambda status, body: json.dumps({"details": {"status": status, "body": body}}),
    anything | st.integers(400, 599),
    anything,
)
statuses = anything | st.integers(-1, 700) | st.sampled_from(["1" * 5000, "200", 200.0, "٣", 10**30])
responses = objects({"status_code": statuses, "request_id": anything, "body": anything})
errors = objects({"code": anything, "message": anything | nested_failures})
lines = st.fixed_dictionaries(
    {"custom_id": st.just("c-0") | texts | anything},
    optional={"response": anything | responses, "error": anything | errors},
)

batch_errors = objects({"line": anything, "code": anything, "message": anything})
ids = ("output_file_id", "error_file_id", "input_file_id")
batches = st.fixed_dictionaries(
    {"id": texts | anything},
    optional={
        **dict.fromkeys(("status", "metadata", *ids), anything),
        "errors": anything | st.fixed_dictionaries({"data": st.lists(anything | batch_errors)}),
        "request_counts": anything | objects(dict.fromkeys(("completed", "failed", "total"), anything)),
    },
)


@EXAMPLES
@given(lines, st.booleans())
def test_whatever_a_line_holds_its_outcome_can_be_told_as_a_response(fields: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(fields, ensure_ascii=ascii_only)
    line = parse_output_line(text.encode("utf-8", "surrogatepass"))
    if line is not None:
        outcome = line_outcome(line, "batch_1")
        parts = answer_parts(outcome) if isinstance(outcome, Answer) else error_parts(outcome)
        assert HTTP.Response(**parts).content == parts["content"]


@EXAMPLES
@given(batches)
def test_whatever_a_batch_object_holds_an_event_can_tell_it(fields: dict[str, Any]) -> None:
    state = parse_batch(fields)
    if state is not None and state.counts is not None:
        event = BatchProgress(
            ts=1.0,
            batch_id=state.id,
            endpoint="/v1/embeddings",
            input_file_id="file-1",
            request_count=1,
            models=[],
            completion_window="24h",
            metadata={},
            status=state.status,
            counts=state.counts,
            elapsed_seconds=1.0,
        )
        assert json.loads(json.dumps(event.to_dict()))["status"] == state.status
