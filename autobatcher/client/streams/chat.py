"""/v1/chat/completions: for each choice a chunk with the role, chunks with the content, one with the finish reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .answer import NULL, Fields, fields_of, is_filled, is_text, list_in, without
from .chunks import Chunk, chunks, numbered_choices

Delta = dict[str, Any]

_IN_DELTAS_OF_THEIR_OWN = ("role", "content", "refusal", "function_call", "tool_calls")


def chat_chunks(body: bytes, include_usage: bool) -> Iterator[Chunk]:
    """The chunks of a chat completion."""
    answer = fields_of(body)
    told = (part for index, choice in numbered_choices(answer) for part in _choice_parts(index, choice))
    yield from chunks(answer, "chat.completion.chunk", told, include_usage)


def _choice_parts(index: int, choice: Fields) -> Iterator[dict[str, Any]]:
    """The chunks' parts of one choice.

    Unknown fields go into the first part, where openai-python's accumulator keeps them. Log probabilities go with their
    text, or into the last part if there is none.
    """
    others = without(choice, ("index", "message", "logprobs", "finish_reason"))
    logprobs = choice.get("logprobs")
    deltas = _deltas(fields_of(choice.get("message", NULL)))
    role = next(deltas)
    yield {"index": index, "delta": role, "logprobs": None, "finish_reason": None, **others}
    for delta in deltas:
        is_last, is_spoken = not delta, "content" in delta or "refusal" in delta
        told, logprobs = (logprobs, None) if is_spoken or is_last else (None, logprobs)
        reason = choice.get("finish_reason") if is_last else None
        yield {"index": index, "delta": delta, "logprobs": told, "finish_reason": reason}


def _deltas(message: Fields) -> Iterator[Delta]:
    """The role, reasoning and unknown fields, the text, the tool calls, and an empty delta for the end."""
    others = without(message, _IN_DELTAS_OF_THEIR_OWN)
    filled = {name: value for name, value in others.items() if is_filled(value)}
    yield {
        "role": message["role"] if is_filled(message.get("role")) else "assistant",
        "content": "" if is_text(message.get("content")) else None,
        "refusal": None,
        **without(others, filled),
    }
    if filled:
        yield filled
    for name in ("content", "refusal"):
        if is_filled(message.get(name)):
            yield {name: message[name]}
    yield from _function_call_deltas(message)
    for position, call in enumerate(list_in(message, "tool_calls")):
        yield from _tool_call_deltas(position, call)
    yield {}


def _function_call_deltas(message: Fields) -> Iterator[Delta]:
    """The deltas of a `function_call`, the predecessor of tool calls."""
    if not is_filled(message.get("function_call")):
        return
    function = fields_of(message["function_call"])
    opening, arguments = _without_arguments(function)
    yield {"function_call": opening}
    if arguments:
        yield {"function_call": arguments}


def _tool_call_deltas(position: int, call: Fields) -> Iterator[Delta]:
    """The call without arguments, then its arguments. A call that is no function call comes in one delta."""
    numbered = {"index": position, **without(call, ("index",))}
    if not is_filled(call.get("function")):
        yield {"tool_calls": [numbered]}
        return
    opening, arguments = _without_arguments(fields_of(call["function"]))
    yield {"tool_calls": [{**numbered, "function": opening}]}
    if arguments:
        yield {"tool_calls": [{"index": position, "function": arguments}]}


def _without_arguments(function: Fields) -> tuple[Delta, Fields]:
    """The function without its arguments, and its arguments."""
    arguments = function.get("arguments")
    if arguments is None or not is_text(arguments):
        return dict(function), {}
    return {**function, "arguments": ""}, {"arguments": arguments} if is_filled(arguments) else {}
