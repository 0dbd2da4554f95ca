"""How many tokens a request has before it is sent. Pure.

Without vocabularies, so without downloads: by the scripts of its texts and the family of its model (scripts.py), and by
the public rules for pictures (images.py).
"""

from __future__ import annotations

from typing import NamedTuple

from .images import image_tokens, most_image_tokens
from .prompt import Prompt, prompt_of
from .scripts import count, rates_of

_FOR_A_MESSAGE, _FOR_AN_ANSWER = 4, 3
"""OpenAI's chat format: the marks around each message, and those before the answer. Others are alike."""

_WITHOUT_MARKS = frozenset({"/v1/embeddings", "/v1/completions", "/v1/moderations", "/v1/images/generations"})


class CountedInput(NamedTuple):
    """The input of a request.

    Attributes:
        tokens: about how many tokens it has, without what is unknown.
        unknown: what else the model reads.
    """

    tokens: float
    unknown: tuple[str, ...] = ()


def count_input(model: str, endpoint: str, body: bytes) -> CountedInput:
    """Count the input of a request. Takes a few milliseconds for a body of any size. Never raises."""
    prompt = prompt_of(body)
    rates = rates_of(model)
    tokens = sum(count(text, rates) for text in _joined(prompt.texts)) / prompt.share + prompt.numbers
    if prompt.share == 1.0:
        tokens = max(tokens, sum(map(bool, prompt.texts)))  # each has one at least: names in a list, say
    if endpoint not in _WITHOUT_MARKS:
        tokens += _FOR_A_MESSAGE * prompt.messages + _FOR_AN_ANSWER
    return CountedInput(tokens + _count_images(model, prompt), tuple(sorted(prompt.unknown)))


def most_for_images(model: str, body: bytes) -> int:
    """An upper bound for the pictures of a request, as far as the rules for its model are known. Never raises."""
    if b"image" not in body:
        return 0
    known = (image_tokens(model, url, detail) for url, detail in prompt_of(body).images)
    return sum(most_image_tokens(model) if tokens is None else tokens for tokens in known)


def _joined(texts: list[str | bytes]) -> list[str | bytes]:
    """Texts in one, since each costs a microsecond. (Pieces of a large body are bytes or text.)"""
    whole = "".join(text for text in texts if isinstance(text, str))
    return [whole, b"".join(text for text in texts if isinstance(text, bytes))]


def _count_images(model: str, prompt: Prompt) -> int:
    known = [image_tokens(model, url, detail) for url, detail in prompt.images]
    if None in known:
        prompt.unknown.add("a picture of unknown size")
    return sum(tokens for tokens in known if tokens is not None)
