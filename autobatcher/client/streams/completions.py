"""/v1/completions: one chunk for each choice, with all that there is to it."""

from __future__ import annotations

from .chunks import Chunk, answer_with_choices, chunks, numbered_choices


def completion_chunks(body: bytes, include_usage: bool) -> list[Chunk]:
    """The chunks of a completion.

    A choice is not cut in two: a chunk's finish_reason may not be null in the SDK's own model of it.
    """
    answer = answer_with_choices(body)
    told = [{**choice, "index": index} for index, choice in numbered_choices(answer)]
    return chunks(answer, "text_completion", told, include_usage)
