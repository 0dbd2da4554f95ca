"""How many tokens an answer says that it took. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Usage(NamedTuple):
    """Tokens of one answer, or of several. `cached` and `cache_write` are parts of `input`, `reasoning` of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write: int = 0


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class _Told(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Told | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def usage_of(body: bytes) -> Usage | None:
    """What an answer says, in the words of any endpoint; None if it says nothing that can be used."""
    try:
        told = _decode(body).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if told is None:
        return None
    if told.input_tokens is not None:
        return _usage(told.input_tokens, told.input_tokens_details, told.output_tokens, told.output_tokens_details)
    return _usage(
        told.prompt_tokens, told.prompt_tokens_details, told.completion_tokens, told.completion_tokens_details
    )


def _usage(asked: int | None, asked_details: _Details | None, said: int | None, said_details: _Details | None) -> Usage:
    cached = asked_details.cached_tokens if asked_details is not None else None
    kept = asked_details.cache_write_tokens if asked_details is not None else None
    reasoning = said_details.reasoning_tokens if said_details is not None else None
    from_cache = min(cached or 0, asked or 0)
    into_cache = min(kept or 0, (asked or 0) - from_cache)
    return Usage(asked or 0, from_cache, said or 0, min(reasoning or 0, said or 0), into_cache)


def sum_up(usages: Iterable[Usage]) -> Usage:
    """The tokens of all of them."""
    return Usage(*map(sum, zip(Usage(), *usages, strict=True)))


def as_batch_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` of OpenAI's batch object."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
