"""A finished answer told as a stream.

A line of a batch is never streamed: upstream gives one JSON body. A caller who asked for `stream=True` gets that
body as the server-sent events that a live call would have brought, so that every client's accumulator makes the
same object of it. Pure: bytes in, bytes out.

Where the rules come from: OpenAI's API reference ("Streaming events" of chat completions, completions and responses),
and what the accumulators of openai-python, openai-node and the AI SDK do with each event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from .chat import chat_chunks
from .completions import completion_chunks
from .request import StreamRequest, without_streaming
from .responses import response_events
from .sse import DONE, frame

__all__ = [
    "stream_events",
    "without_streaming",
    "StreamRequest",
    "UnstreamableAnswerError",
    "CONTENT_TYPE",
    "STREAMED_ENDPOINTS",
]

CONTENT_TYPE = "text/event-stream; charset=utf-8"
"""The content type of a response made of these frames."""


class UnstreamableAnswerError(ValueError):
    """A body is not the JSON object that its endpoint answers with, so there is no telling it as a stream."""


def stream_events(endpoint: str, body: bytes, *, include_usage: bool) -> Iterator[bytes]:
    """Tell the finished answer `body` as server-sent events.

    Args:
        endpoint: "/v1/chat/completions", "/v1/completions" or "/v1/responses".
        body: the answer's JSON; of a success, an error body is no answer.
        include_usage: whether `stream_options` asked for usage. Responses always end with it.

    Returns:
        Whole frames, each with the blank line that ends it. They are encoded one by one, as they are taken.

    Raises:
        UnstreamableAnswerError: at once, before there is any frame: `body` is not what that endpoint answers with.
        ValueError: there is no streaming at `endpoint`.
    """
    if endpoint not in _MESSAGES:
        raise ValueError(f"Calls to {endpoint} have no streaming form, only {', '.join(_MESSAGES)} have.")
    try:
        messages = _MESSAGES[endpoint](body, include_usage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnstreamableAnswerError(
            f"The upstream's answer cannot be told as a stream of {endpoint}: {error}"
        ) from error
    return _named_frames(messages) if endpoint == "/v1/responses" else _frames(messages)


_MESSAGES: dict[str, Callable[[bytes, bool], list[dict[str, Any]]]] = {
    "/v1/chat/completions": chat_chunks,
    "/v1/completions": completion_chunks,
    "/v1/responses": lambda body, include_usage: response_events(body),
}


STREAMED_ENDPOINTS = frozenset(_MESSAGES)
"""Where `stream` means something; it is not for us to take it out of other bodies."""


def _frames(chunks: list[dict[str, Any]]) -> Iterator[bytes]:
    for chunk in chunks:
        yield frame(chunk)
    yield DONE


def _named_frames(events: list[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        yield frame(event, name=event["type"])
