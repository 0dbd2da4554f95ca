"""Shared by streams of chat completions and of completions: chunks with common fields, and usage at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .answer import Fields, Items, is_filled, list_in, without

Chunk = dict[str, Any]

_HEAD = ("id", "created", "model", "service_tier", "system_fingerprint")
_ELSEWHERE = (*_HEAD, "object", "choices", "usage")


def chunks(answer: Fields, object_name: str, choices: Iterable[dict[str, Any]], include_usage: bool) -> Iterator[Chunk]:
    """The chunks of `answer`, one for each of `choices`, in order.

    Unknown fields go into the first chunk: accumulators start from it and take little from later ones.
    """
    head: Chunk = {name: answer[name] for name in _HEAD if name in answer} | {"object": object_name}
    if include_usage:
        head["usage"] = None
    first: Chunk = {"choices": [], **without(answer, _ELSEWHERE)}
    for choice in choices:
        yield {**head, **first, "choices": [choice]}
        first = {}
    if first:
        yield {**head, **first}
    if include_usage and is_filled(answer.get("usage")):
        yield {**head, "choices": [], "usage": answer["usage"]}


def numbered_choices(answer: Fields) -> Iterator[tuple[int, Fields]]:
    """The choices in the order of their indexes from 0, which accumulators require.

    If an index is missing or repeated, the choices are numbered in their given order.
    """
    choices = list_in(answer, "choices")
    indexes = [bytes(choice["index"]) if "index" in choice else b"" for choice in choices]
    if sorted(indexes) == sorted(b"%d" % position for position in range(len(choices))):
        by_index = dict(zip(indexes, choices, strict=True))
        choices = [by_index[b"%d" % position] for position in range(len(choices))]
    return enumerate(choices)


class WithChoices(msgspec.Struct):
    """An answer with a list of choices."""

    choices: Items
