"""A finished answer as a stream of server-sent events, for real-time calls with `stream: true`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from .logprobs import split_tokens

DONE = b"data: [DONE]\n\n"


def events(endpoint: str, request: dict[str, Any], answer: dict[str, Any]) -> Iterator[bytes]:
    """The events of `answer`. An endpoint that cannot stream raises `KeyError`; see `STREAMABLE`."""
    return STREAMABLE[endpoint](request, answer)


def _event(content: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(content) + b"\n\n"


# Chat completions


def _chat_events(request: dict[str, Any], answer: dict[str, Any]) -> Iterator[bytes]:
    frame = {key: answer[key] for key in ("id", "created", "model", "system_fingerprint")}
    frame["object"] = "chat.completion.chunk"
    for choice in answer["choices"]:
        for delta in _chat_deltas(choice["message"]):
            yield _event({**frame, "choices": [_chunk_choice(choice, delta, None)]})
        yield _event({**frame, "choices": [_chunk_choice(choice, {}, choice["finish_reason"])]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _event({**frame, "choices": [], "usage": answer["usage"]})
    yield DONE


def _chunk_choice(choice: dict[str, Any], delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": choice["index"], "delta": delta, "finish_reason": finish, "logprobs": None}


def _chat_deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if message["content"] is not None else None}
    for token in split_tokens(message["content"] or ""):
        yield {"content": token}
    for index, call in enumerate(message.get("tool_calls") or []):
        yield {"tool_calls": [{"index": index, **call}]}


# Completions


def _completion_events(request: dict[str, Any], answer: dict[str, Any]) -> Iterator[bytes]:
    frame = {key: answer[key] for key in ("id", "created", "model", "object")}
    for choice in answer["choices"]:
        for token in split_tokens(choice["text"]):
            yield _event({**frame, "choices": [{**choice, "text": token, "finish_reason": None, "logprobs": None}]})
        yield _event({**frame, "choices": [{**choice, "text": "", "logprobs": None}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _event({**frame, "choices": [], "usage": answer["usage"]})
    yield DONE


# Responses


def _response_events(request: dict[str, Any], answer: dict[str, Any]) -> Iterator[bytes]:
    for number, event in enumerate(_numberless_response_events(answer)):
        yield _event({**event, "sequence_number": number}, event["type"])


def _numberless_response_events(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer["output"]):
        yield from _item_events(index, item)
    yield {"type": f"response.{answer['status']}", "response": answer}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"output_index": index, "item_id": item["id"]}
    emptied: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "custom_tool_call": {"input": ""},
    }
    started = {**item, **emptied[item["type"]]}
    if "status" in item:
        started["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": started}
    match item["type"]:
        case "message":
            yield from _text_events({**place, "content_index": 0}, item["content"][0])
        case "function_call":
            yield from _argument_events("response.function_call_arguments", "arguments", place, item)
        case _:
            yield from _argument_events("response.custom_tool_call_input", "input", place, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _text_events(place: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty = {**part, "text": "", "logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": empty}
    for token in split_tokens(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": token, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _argument_events(kind: str, field: str, place: dict[str, Any], item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for token in split_tokens(item[field]):
        yield {"type": f"{kind}.delta", **place, "delta": token}
    yield {"type": f"{kind}.done", **place, "name": item["name"], field: item[field]}


STREAMABLE: dict[str, Callable[[dict[str, Any], dict[str, Any]], Iterator[bytes]]] = {
    "/v1/chat/completions": _chat_events,
    "/v1/completions": _completion_events,
    "/v1/responses": _response_events,
}
