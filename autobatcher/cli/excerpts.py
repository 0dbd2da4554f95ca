"""Prompts and answers: shortened for a table, or whole as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..progress import shortened

EXCERPT_LENGTH = 40

LARGEST_DECODED = 1_000_000
"""Largest body, in bytes, of which there is an excerpt."""


def decoded(body: bytes | None) -> Any:
    """A body as a JSON value; text if it is not JSON; None if there is none."""
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def as_json_text(body: bytes | None) -> str:
    """A body as JSON on one line; as a text if it is not JSON; null if there is none.

    The keys are sorted, unless it is large: to decode it would take thirty times its size.
    """
    if body is None:
        return "null"
    try:
        compact = msgspec.json.format(body, indent=-1).decode()
        return compact if len(body) > LARGEST_DECODED else json.dumps(json.loads(compact), sort_keys=True)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return json.dumps(body.decode(errors="replace"))


def excerpt_of(body: bytes | None, excerpt: Callable[[Any], str]) -> str:
    """An excerpt of a body; its size if it is large; "-" if there is none."""
    if body is not None and len(body) > LARGEST_DECODED:
        return f"{len(body) / 1e6:,.1f} MB"
    return "-" if body is None else excerpt(decoded(body))


def prompt_excerpt(body: Any) -> str:
    """The last user message or input of a request; "-" if there is none."""
    asked = body if isinstance(body, dict) else {}
    messages = asked.get("messages")
    if isinstance(messages, list):
        from_users = [each for each in messages if isinstance(each, dict) and each.get("role") == "user"]
        asked = (from_users or [{}])[-1]
    return _excerpt(next((asked[name] for name in ("content", "input", "prompt") if asked.get(name)), None))


def answer_excerpt(body: Any) -> str:
    """The text of an answer, the message of an error, or a description; "-" if there is none."""
    if not isinstance(body, dict):
        return _excerpt(body)
    for name in ("error", "choices", "output"):
        if body.get(name):
            return _excerpt(body[name])
    values = body.get("data")
    first = values[0] if isinstance(values, list) and values and isinstance(values[0], dict) else {}
    if isinstance(first.get("embedding"), list):
        return f"embedding of {len(first['embedding'])} numbers"
    return _excerpt(body.get("id"))


def _excerpt(value: Any) -> str:
    return shortened(" ".join(_texts(value)), EXCERPT_LENGTH) or "-"


def _texts(value: Any) -> Iterator[str]:
    """All texts in a content value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value[-1:] if value and isinstance(value[-1], dict) and value[-1].get("role") else value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name in ("message", "content", "text"):
            yield from _texts(value.get(name))
