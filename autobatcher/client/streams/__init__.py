"""Converts a finished answer into a stream. Pure: bytes in, bytes out.

Batches do not stream: the answer is one JSON body. A caller of `stream=True` gets it as the server-sent events of a
live call, which every client's accumulator turns into the same object.

Sources: OpenAI's API reference ("Streaming events" of chat completions, completions and responses), and the
accumulators of openai-python, openai-node and the AI SDK.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ...turns import Steps, at_once
from .answer import PartCount, counted_parts
from .chat import chat_chunks
from .chunks import WithChoices
from .completions import completion_chunks
from .request import StreamRequest, may_ask_for_stream, removal_of_streaming, without_streaming
from .responses import WithOutput, response_events
from .sse import DONE, frame

__all__ = [
    "stream_events",
    "streaming",
    "without_streaming",
    "removal_of_streaming",
    "may_ask_for_stream",
    "StreamRequest",
    "UnstreamableAnswerError",
    "CONTENT_TYPE",
    "STREAMED_ENDPOINTS",
]

CONTENT_TYPE = "text/event-stream; charset=utf-8"
"""The content type of a response made of these frames."""


class UnstreamableAnswerError(ValueError):
    """The body is not an answer of its endpoint, so it cannot be converted into a stream."""


def stream_events(endpoint: str, body: bytes, *, include_usage: bool) -> Iterator[bytes]:
    """Convert the finished answer `body` into server-sent events.

    Args:
        endpoint: "/v1/chat/completions", "/v1/completions" or "/v1/responses".
        body: the JSON of a 2xx answer.
        include_usage: whether `stream_options` asked for usage. Streams of responses always include it.

    Returns:
        Whole frames, each with its final blank line, encoded lazily.

    Raises:
        UnstreamableAnswerError: at once, if `body` is not an answer of that endpoint, or has far more parts than any
            honest one; later, if the frames become many times as long as the body.
        ValueError: if `endpoint` does not stream.
    """
    return at_once(_converting(endpoint, body, include_usage))


def streaming(endpoint: str, body: bytes, *, include_usage: bool) -> Steps[bytes]:
    """All of `stream_events`, in steps."""
    frames = yield from _converting(endpoint, body, include_usage)
    stream = io.BytesIO()
    for each in frames:
        stream.write(each)
        if len(each) > MOST_AT_ONCE_BYTES:
            yield
    return stream.getvalue()


MOST_AT_ONCE_BYTES = 100_000
"""Up to this size an answer is converted in one step, which takes a millisecond."""

MOST_STREAMED_BYTES = 16_000_000
"""The largest answer that is converted. Each look at it, of which a step may have four, takes 8 ms."""

MOST_STREAMED_ELEMENTS = 1_500_000
"""The same for its elements: the log probabilities of 9,000 tokens, with twenty others each."""


def _converting(endpoint: str, body: bytes, include_usage: bool) -> Steps[Iterator[bytes]]:
    if endpoint not in _MESSAGES:
        raise ValueError(f"{endpoint} does not stream; only {', '.join(_MESSAGES)} do.")
    _check_size(body)
    messages, count = list[dict[str, Any]](), PartCount()
    try:
        msgspec.json.decode(body, type=_SHAPES[endpoint])
        told = _MESSAGES[endpoint](body, include_usage)
        while True:
            if len(body) > MOST_AT_ONCE_BYTES:
                yield
            with counted_parts(count):
                if (message := next(told, None)) is None:
                    break
            messages.append(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnstreamableAnswerError(
            f"The upstream's answer cannot be converted into a stream of {endpoint}: {error}"
        ) from error
    frames = _named_frames(messages) if endpoint == "/v1/responses" else _frames(messages)
    return _bounded(frames, _FRAMES_PER_BODY * len(body) + _MOST_FRAME_BYTES)


def _check_size(body: bytes) -> None:
    """Refuse an answer whose conversion would hold up the event loop."""
    if len(body) <= MOST_STREAMED_BYTES and sum(map(body.count, (b",", b"[", b"{"))) <= MOST_STREAMED_ELEMENTS:
        return
    raise UnstreamableAnswerError(
        f"The upstream's answer is too large for a stream: {len(body):,} bytes. Ask without `stream`."
    )


def _bounded(frames: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
    """An answer's id is in each frame, and may be long."""
    for each in frames:
        most_bytes -= len(each)
        if most_bytes < 0:
            raise UnstreamableAnswerError("The upstream's answer would be many times as long as a stream.")
        yield each


_FRAMES_PER_BODY, _MOST_FRAME_BYTES = 6, 1_000_000
"""How long frames may be in all: an answer of the Responses API has its text in six events."""

_SHAPES: dict[str, type] = {
    "/v1/chat/completions": WithChoices,
    "/v1/completions": WithChoices,
    "/v1/responses": WithOutput,
}

_MESSAGES: dict[str, Callable[[bytes, bool], Iterator[dict[str, Any]]]] = {
    "/v1/chat/completions": chat_chunks,
    "/v1/completions": completion_chunks,
    "/v1/responses": lambda body, include_usage: response_events(body),
}


STREAMED_ENDPOINTS = frozenset(_MESSAGES)
"""Endpoints that stream. Elsewhere `stream` is left in the body."""


def _frames(chunks: list[dict[str, Any]]) -> Iterator[bytes]:
    for chunk in chunks:
        yield frame(chunk)
    yield DONE


def _named_frames(events: list[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        yield frame(event, name=event["type"])
