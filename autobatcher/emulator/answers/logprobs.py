"""Made-up log probabilities: the later a token, the less likely."""

from __future__ import annotations

from typing import Any

from .prompt import CHARACTERS_PER_TOKEN


def split_tokens(text: str) -> list[str]:
    return [text[start : start + CHARACTERS_PER_TOKEN] for start in range(0, len(text), CHARACTERS_PER_TOKEN)]


def token_logprobs(text: str, alternatives: int) -> list[dict[str, Any]]:
    """One entry for each token, with `alternatives` other candidates, the token itself being the first."""
    return [_entry(token, -0.01 * (index % 7 + 1), alternatives) for index, token in enumerate(split_tokens(text))]


def _entry(token: str, logprob: float, alternatives: int) -> dict[str, Any]:
    candidates = [_candidate(f"{token}{'~' * rank}", logprob - rank) for rank in range(alternatives)]
    return {**_candidate(token, logprob), "top_logprobs": candidates}


def _candidate(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
