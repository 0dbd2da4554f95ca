"""The demo's calls: a mix of chat, embedding and response calls, made with the SDK's ordinary methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import openai

Kind = Literal["chat", "embedding", "response"]

ENDPOINTS: dict[Kind, str] = {
    "chat": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "response": "/v1/responses",
}

# Of ten calls, five are chat, three embeddings, two responses, well mixed.
_MIX: tuple[Kind, ...] = (
    "chat", "embedding", "chat", "response", "chat", "embedding", "chat", "response", "embedding", "chat",
)  # fmt: skip

_QUESTIONS = (
    "In one sentence: why is the sky blue?",
    "Name three uses of a paper clip.",
    "Translate into French: the train leaves at nine.",
    "Is 97 a prime number? Answer yes or no.",
    "Summarise in five words: all happy families are alike.",
    "What does a nursery do in structured concurrency?",
    "Give an antonym of 'scarce'.",
)
_MOST_OUTPUT_TOKENS = 64


@dataclass(frozen=True)
class Call:
    """One call of the demo."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Models:
    """The models of the calls."""

    chat: str
    embedding: str


@dataclass(frozen=True)
class Usage:
    """The tokens of one answer, by the upstream's count; 0 if it does not say."""

    input_tokens: int = 0
    output_tokens: int = 0


def mixed_calls(count: int, kinds: Sequence[Kind] = tuple(ENDPOINTS)) -> list[Call]:
    """`count` calls of these kinds: deterministic, no two with the same text."""
    mix = [kind for kind in _MIX if kind in kinds]
    return [
        Call(kind, f"Question {number}. {question}")
        for number, kind, question in zip(
            range(1, count + 1), islice(cycle(mix), count), cycle(_QUESTIONS), strict=False
        )
    ]


def count_kinds(calls: Sequence[Call]) -> str:
    """The number of calls of each kind: "5 chat, 3 embedding, 2 response"."""
    counted = Counter(call.kind for call in calls)
    return ", ".join(f"{counted[kind]} {kind}" for kind in ENDPOINTS if counted[kind])


async def make_call(client: openai.AsyncOpenAI, call: Call, models: Models) -> Usage:
    """Make one call and wait for its answer.

    Raises:
        openai.APIError: the call failed.
    """
    return await _MAKERS[call.kind](client, call.text, models)


async def _chat(client: openai.AsyncOpenAI, text: str, models: Models) -> Usage:
    answer = await client.chat.completions.create(
        model=models.chat,
        messages=[{"role": "user", "content": text}],
        max_completion_tokens=_MOST_OUTPUT_TOKENS,
    )
    usage = answer.usage
    return Usage(usage.prompt_tokens, usage.completion_tokens) if usage else Usage()


async def _embedding(client: openai.AsyncOpenAI, text: str, models: Models) -> Usage:
    answer = await client.embeddings.create(model=models.embedding, input=text)
    return Usage(answer.usage.prompt_tokens)


async def _response(client: openai.AsyncOpenAI, text: str, models: Models) -> Usage:
    answer = await client.responses.create(model=models.chat, input=text, max_output_tokens=_MOST_OUTPUT_TOKENS)
    usage = answer.usage
    return Usage(usage.input_tokens, usage.output_tokens) if usage else Usage()


_MAKERS: dict[Kind, Callable[[openai.AsyncOpenAI, str, Models], Awaitable[Usage]]] = {
    "chat": _chat,
    "embedding": _embedding,
    "response": _response,
}
