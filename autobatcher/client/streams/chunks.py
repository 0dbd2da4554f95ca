"""What streams of chat completions and of completions have in common: chunks with one head, and usage at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .answer import Fields, fields_of, is_filled, list_in, without

Chunk = dict[str, Any]

_HEAD = ("id", "created", "model", "service_tier", "system_fingerprint")
_ELSEWHERE = (*_HEAD, "object", "choices", "usage")


def answer_with_choices(body: bytes) -> Fields:
    """The fields of an answer; raises `msgspec.ValidationError` for one that has no list of choices: an error, say."""
    msgspec.json.decode(body, type=_WithChoices)
    return fields_of(body)


def chunks(answer: Fields, object_name: str, choices: list[dict[str, Any]], include_usage: bool) -> list[Chunk]:
    """The chunks of `answer`, each with one of `choices`, in their order.

    Fields we do not know come in the first chunk: accumulators begin with all of it and take little of later ones.
    """
    head: Chunk = {name: answer[name] for name in _HEAD if name in answer} | {"object": object_name}
    if include_usage:
        head["usage"] = None
    told: list[Chunk] = [{**head, "choices": [choice]} for choice in choices] or [{**head, "choices": []}]
    told[0] |= without(answer, _ELSEWHERE)
    if include_usage and is_filled(answer.get("usage")):
        told.append({**head, "choices": [], "usage": answer["usage"]})
    return told


def numbered_choices(answer: Fields) -> Iterator[tuple[int, Fields]]:
    """The choices by index from 0 up, the only order that accumulators take.

    Choices that are not numbered so (a number is missing, or there twice) are numbered as they stand.
    """
    choices = list_in(answer, "choices")
    indexes = [bytes(choice["index"]) if "index" in choice else b"" for choice in choices]
    if sorted(indexes) == sorted(b"%d" % position for position in range(len(choices))):
        choices = [choices[indexes.index(b"%d" % position)] for position in range(len(choices))]
    return enumerate(choices)


class _WithChoices(msgspec.Struct):
    choices: list[msgspec.Raw]
