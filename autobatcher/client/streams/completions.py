"""/v1/completions: one chunk for each choice."""

from __future__ import annotations

from collections.abc import Iterator

from .answer import fields_of
from .chunks import Chunk, chunks, numbered_choices


def completion_chunks(body: bytes, include_usage: bool) -> Iterator[Chunk]:
    """The chunks of a completion.

    A choice is one chunk, because the SDK's model of a chunk requires a finish_reason.
    """
    answer = fields_of(body)
    told = ({**choice, "index": index} for index, choice in numbered_choices(answer))
    yield from chunks(answer, "text_completion", told, include_usage)
