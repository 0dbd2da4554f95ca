"""The tokens that an answer was billed for. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Self

import msgspec

from ..upstream import bounded_json, tolerant_json

LARGE_BYTES, END_BYTES = 4_000_000, 100_000
"""Above the first, a body is not parsed; so many bytes are looked at, at its end and at its beginning."""

MOST_TOKENS = 2**40
"""More than any answer has. Larger numbers are no counts, and count as not said."""


class Usage(NamedTuple):
    """Tokens of one answer, or of many together.

    Attributes:
        input: tokens that were read.
        cached: those of them that the provider had in its cache.
        output: tokens that were written.
        reasoning: those of them that nobody sees.
        cache_write: tokens that were read and written into the cache. None of them was in it: they are part of the
            input, and not of `cached`.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write: int = 0

    def plus(self, other: Usage) -> Self:
        """Return both together."""
        read, cached, written, reasoning, kept = self
        more = (read + other[0], cached + other[1], written + other[2], reasoning + other[3], kept + other[4])
        return tuple.__new__(type(self), more)  # half the time of the constructor: each answer is added thrice


class _Retention(msgspec.Struct):
    ttl_12h_tokens: int | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _Retention | None = None


class _Counts(msgspec.Struct):
    """`usage` in the words of every endpoint."""

    prompt_tokens: int | None = None
    input_tokens: int | None = None
    completion_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cached_tokens: int | None = None  # Moonshot
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class _Body(msgspec.Struct):
    usage: _Counts | None = None


class Name(msgspec.Struct):
    """How an answer names itself.

    Attributes:
        id: "" if it has none, like embeddings.
        model: the model that gave it, often with a date at the end; "" if it names none.
    """

    id: str = ""
    model: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_name = msgspec.json.Decoder(Name).decode


def usage_of(body: bytes) -> Usage | None:
    """Return the tokens that the body of an answer reports; None if it reports none. Never raises.

    Reads chat completions, completions, embeddings, responses, images and moderations. Of a large body only both ends
    are looked at, where every API says it: a parser would hold the event loop.
    """
    if len(body) > LARGE_BYTES:
        return _usage_at_the_ends(body)
    try:
        counts = _decode_body(body).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        counts = _read_leniently(body)
    return _usage(counts) if counts is not None else None


def _usage_at_the_ends(body: bytes) -> Usage | None:
    for end in (body[-END_BYTES:], body[:END_BYTES]):
        for found in reversed(list(_NAMED_USAGE.finditer(end))):
            try:
                value, _ = _raw_decode(end[found.end() :].decode(errors="replace"))
                return _usage(msgspec.convert(_sound(value), _Counts))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
    return None


_NAMED_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(?={)')
_raw_decode = json.JSONDecoder().raw_decode


def is_model(named: str, model: str) -> bool:
    """Whether an answer that names itself so is of this model. Providers answer with its full name, which has a date
    at the end; gpt-4o-mini is no gpt-4o."""
    return named.startswith(model) and _DATE.fullmatch(named, len(model)) is not None


_DATE = re.compile(r"([-@:]v?[0-9]{3,}[0-9.-]*)?")


def name_in(body: bytes) -> Name:
    """Return how an answer names itself; of a large one nothing. Never raises."""
    try:
        return Name() if len(body) > LARGE_BYTES else _decode_name(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Name()


def _usage(counts: _Counts) -> Usage | None:
    read = _first(counts.prompt_tokens, counts.input_tokens)
    written = _first(counts.completion_tokens, counts.output_tokens)
    total = _first(counts.total_tokens)
    if read is None and written is None:
        return None
    read, written = read or 0, written or 0
    if total is not None and total - read > written:
        written = total - read  # xAI and Gemini leave reasoning out of the output, but not out of the total
    asked = counts.prompt_tokens_details or counts.input_tokens_details or _NO_DETAILS
    said = counts.completion_tokens_details or counts.output_tokens_details or _NO_DETAILS
    has_details = asked is not _NO_DETAILS or said is not _NO_DETAILS
    if not has_details and counts.cached_tokens is None and counts.prompt_cache_hit_tokens is None:
        return Usage(read, 0, written)
    cached = _first(asked.cached_tokens, counts.cached_tokens, counts.prompt_cache_hit_tokens) or 0
    reasoning = _first(said.reasoning_tokens) or 0
    cached, kept = min(cached, read), _first(asked.cache_write_tokens) or 0
    if asked.cache_write_tokens_details is not None and _first(asked.cache_write_tokens_details.ttl_12h_tokens):
        return None  # no list of prices has what a write costs that is kept for longer than usual
    return Usage(read, cached, written, min(reasoning, written), min(kept, read - cached))


_NO_DETAILS = _Details()


def _first(first: int | None, *others: int | None) -> int | None:
    """The first one that is a count. A zero gives way to what another name says."""
    if first and 0 < first <= MOST_TOKENS:
        return first
    found = None
    for count in (first, *others):
        if count is not None and 0 <= count <= MOST_TOKENS:
            if count:
                return count
            found = 0
    return found


def _read_leniently(body: bytes) -> _Counts | None:
    """What a strict decoder refuses: invalid text elsewhere in the body, and odd values among the counts."""
    try:
        bounded_json.check_bounds(body)
        found = tolerant_json.value_of(tolerant_json.members(body).get("usage", b"null"))
        return msgspec.convert(_sound(found), _Counts) if isinstance(found, dict) else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _sound(found: dict[str, Any]) -> dict[str, Any]:
    """The members that are counts, or objects of counts."""
    details = {name: _sound(value) for name, value in found.items() if isinstance(value, dict)}
    counts = {name: int(value) for name, value in found.items() if _is_count(value)}
    return details | counts


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
