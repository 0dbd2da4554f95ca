"""Answers to POST /v1/completions: an echo of each prompt."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from .logprobs import split_tokens
from .prompt import Prompt, count_tokens, cut_to_tokens


def completion(prompt: Prompt) -> dict[str, Any]:
    """A Completion object with `n` choices for each prompt, those of the first prompt first."""
    texts = prompt.texts("prompt")
    each = prompt.count("n")
    choices = [_choice(prompt.request, text) for text in texts for _ in range(each)]
    asked = sum(count_tokens(text) for text in texts)
    said = sum(count_tokens(choice["text"]) for choice in choices)
    return {
        "id": f"cmpl-{prompt.digest}",
        "object": "text_completion",
        "created": prompt.created,
        "model": prompt.model,
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
        "system_fingerprint": "fp_emulator",
    }


def _choice(request: dict[str, Any], text: str) -> dict[str, Any]:
    said, is_cut = cut_to_tokens(text, request.get("max_tokens"))
    if request.get("echo"):
        said = text + said
    logprobs = _logprobs(said) if isinstance(request.get("logprobs"), int) else None
    return {"text": said, "finish_reason": "length" if is_cut else "stop", "logprobs": logprobs}


def _logprobs(text: str) -> dict[str, Any]:
    tokens = split_tokens(text)
    offsets = list(accumulate((len(token) for token in tokens), initial=0))[:-1]
    numbers = [-0.01] * len(tokens)
    top = [{token: -0.01} for token in tokens]
    return {"tokens": tokens, "token_logprobs": numbers, "top_logprobs": top, "text_offset": offsets}
