"""Validates an input file as each provider does: OpenAI when the batch starts, Doubleword at the upload.

The rules are pure functions from the file's bytes to its lines and problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .lines import BodyHead, Line, RawLine, count_embedding_inputs, parse_head, parse_line, split_lines

# OpenAI: openai SDK, types/batch_create_params.py. /v1/videos is left out: the emulator has no answer for it.
OPENAI_ENDPOINTS = frozenset(
    {
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
    }
)
# Doubleword: control-layer's default list, without /v1/messages, for which the emulator has no answer.
DOUBLEWORD_ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"})
MAX_ERRORS = 100
MAX_CUSTOM_ID_BYTES = 64
_HEADER_SAFE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of `errors.data[]` of a batch. `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "line": self.line, "message": self.message, "param": self.param}


@dataclass(frozen=True, slots=True)
class Checked:
    """The lines of a file, and its problems, if any."""

    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def check_openai(content: bytes, *, endpoint: str, max_requests: int, max_embedding_inputs: int) -> Checked:
    """OpenAI's rules: one endpoint, one model, unique custom_ids. One bad line fails the batch."""
    texts = split_lines(content)
    if not texts:
        return Checked(problems=[Problem("empty_file", "The input file is empty.")])
    if len(texts) > max_requests:
        return Checked(problems=[_too_many(len(texts), max_requests, "requests")])
    checked = Checked()
    seen = _Seen(endpoint)
    for number, text in enumerate(texts, 1):
        outcome = _check_openai_line(number, text, seen)
        if isinstance(outcome, Line):
            checked.lines.append(outcome)
        elif len(checked.problems) < MAX_ERRORS:
            checked.problems.append(outcome)
    if endpoint.endswith("/embeddings") and not checked.problems:
        inputs = sum(count_embedding_inputs(line.body) for line in checked.lines)
        if inputs > max_embedding_inputs:
            checked.problems.append(_too_many(inputs, max_embedding_inputs, "embedding inputs"))
    return checked


@dataclass(slots=True)
class _Seen:
    """State from the lines before this one."""

    endpoint: str
    model: str | None = None
    custom_ids: set[str] = field(default_factory=set)


def _check_openai_line(number: int, text: bytes, seen: _Seen) -> Line | Problem:
    raw = parse_line(text)
    if raw is None:
        return Problem("invalid_json_line", "This line is not parseable as valid JSON.", number)
    head = parse_head(raw.body)
    for problem in _openai_problems(number, raw, head, seen):
        return problem
    assert head is not None
    seen.custom_ids.add(raw.custom_id)
    seen.model = head.model
    return Line(number, raw.custom_id, raw.url, head.model, bytes(raw.body))


def _openai_problems(number: int, raw: RawLine, head: BodyHead | None, seen: _Seen) -> Iterator[Problem]:
    def problem(code: str, message: str, param: str) -> Problem:
        return Problem(code, message, number, param)

    if not isinstance(raw.custom_id, str) or not raw.custom_id:
        yield problem("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id")
    elif raw.custom_id in seen.custom_ids:
        yield problem("duplicate_custom_id", f"The custom_id {raw.custom_id!r} is used more than once.", "custom_id")
    if raw.method != "POST":
        yield problem("invalid_method", "The method must be POST.", "method")
    if raw.url != seen.endpoint:
        message = f"The url {raw.url!r} is not the endpoint of the batch, {seen.endpoint!r}."
        yield problem("url_mismatch", message, "url")
    if head is None:
        yield problem("invalid_request", "The body must be a JSON object.", "body")
        return
    if not isinstance(head.model, str) or not head.model:
        yield problem("missing_required_parameter", "Missing required parameter: 'model'.", "body.model")
    elif seen.model is not None and head.model != seen.model:
        message = f"All lines must be for one model: {head.model!r} is not {seen.model!r}."
        yield problem("model_mismatch", message, "body.model")
    if head.stream:
        yield problem("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream")


def _too_many(count: int, limit: int, what: str) -> Problem:
    return Problem("too_many_tasks", f"The batch has {count} {what}; at most {limit} are allowed.")


def check_doubleword(content: bytes, *, max_requests: int) -> Checked:
    """Doubleword's rules: endpoints and models may be mixed, custom_ids repeated; blank lines are skipped."""
    texts = [text for text in split_lines(content) if text.strip()]
    if not texts:
        return Checked(problems=[Problem("empty_file", "File contains no valid request templates")])
    if len(texts) > max_requests:
        return Checked(problems=[_too_many(len(texts), max_requests, "requests")])
    checked = Checked()
    for number, text in enumerate(texts, 1):
        outcome = _check_doubleword_line(number, text)
        if isinstance(outcome, Problem):
            checked.problems.append(outcome)
            return checked
        checked.lines.append(outcome)
    return checked


def _check_doubleword_line(number: int, text: bytes) -> Line | Problem:
    raw = parse_line(text)
    if raw is None:
        return Problem("invalid_json", f"Line {number}: Invalid JSON", number)
    head = parse_head(raw.body)
    for message in _doubleword_problems(raw, head):
        return Problem("invalid_line", f"Line {number}: {message}", number)
    assert head is not None
    return Line(number, raw.custom_id, raw.url, head.model, bytes(raw.body))


def _doubleword_problems(raw: RawLine, head: BodyHead | None) -> Iterator[str]:
    if not isinstance(raw.custom_id, str):
        yield "missing field `custom_id`"
    elif len(raw.custom_id.encode()) > MAX_CUSTOM_ID_BYTES:
        yield f"custom_id exceeds maximum length of {MAX_CUSTOM_ID_BYTES} bytes"
    elif not _HEADER_SAFE.fullmatch(raw.custom_id):
        yield "custom_id contains characters that are not valid in an HTTP header"
    if raw.method != "POST":
        yield f"Unsupported HTTP method '{raw.method}'. Must be one of: POST"
    if raw.url not in DOUBLEWORD_ENDPOINTS:
        yield f"Unsupported URL path '{raw.url}'"
    if head is None:
        yield "body must be a JSON object"
    elif not isinstance(head.model, str):
        yield "Missing 'model' field in request body"
