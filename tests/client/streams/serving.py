"""The SDK's own clients, answered in memory: by a stream if they ask for one, by the JSON itself if not."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import openai

from autobatcher.client.streams import CONTENT_TYPE, stream_events, without_streaming
from tests.harness import SDK_LIBRARY

http: Any = import_module(SDK_LIBRARY)

SDK_LEAVES_ITS_GENERATORS = (
    r"ignore:Async generator 'openai\._streaming\.(AsyncStream\._iter_events|SSEDecoder\.aiter_bytes)':ResourceWarning"
)
"""On trio: the SDK stops at [DONE] and leaves its async generators unexhausted, whoever sent the stream."""


def reply(endpoint: str, answer: dict[str, Any], request_body: bytes) -> tuple[str, list[bytes]]:
    """Content type and body, in pieces, of the response to a request."""
    body = json.dumps(answer, ensure_ascii=False).encode()
    asked = without_streaming(request_body)
    if not asked.wants_stream:
        return "application/json", [body]
    return CONTENT_TYPE, list(stream_events(endpoint, body, include_usage=asked.include_usage))


def async_client(answer: dict[str, Any]) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="k", base_url="http://upstream.test/v1", http_client=http.AsyncClient(transport=_transport(answer))
    )


def sync_client(answer: dict[str, Any]) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="http://upstream.test/v1", http_client=http.Client(transport=_transport(answer))
    )


def _transport(answer: dict[str, Any]) -> Any:
    def handle(request: Any) -> Any:
        content_type, pieces = reply(request.url.path, answer, request.content)
        return http.Response(200, headers={"content-type": content_type}, content=b"".join(pieces))

    return http.MockTransport(handle)


def messages_of(frames: list[bytes]) -> list[dict[str, Any]]:
    """The JSON of each frame, read by the letter of the SSE standard; [DONE] is left out."""
    messages = []
    for frame in frames:
        assert frame.endswith(b"\n\n")
        assert frame.count(b"\n\n") == 1
        *names, data = frame[:-2].split(b"\n")
        assert data.startswith(b"data: ")
        assert b"\r" not in frame
        if data != b"data: [DONE]":
            message = json.loads(data[6:])
            assert names == ([b"event: " + message["type"].encode()] if names else [])
            messages.append(message)
    return messages
