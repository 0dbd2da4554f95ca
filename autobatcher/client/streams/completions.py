"""/v1/completions: one chunk for each choice."""

from __future__ import annotations

from .chunks import Chunk, answer_with_choices, chunks, numbered_choices


def completion_chunks(body: bytes, include_usage: bool) -> list[Chunk]:
    """The chunks of a completion.

    A choice is one chunk, because the SDK's model of a chunk requires a finish_reason.
    """
    answer = answer_with_choices(body)
    told = [{**choice, "index": index} for index, choice in numbered_choices(answer)]
    return chunks(answer, "text_completion", told, include_usage)
