"""/v1/chat/completions: for each choice a chunk with the role, chunks with the content, one with the finish reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .answer import NULL, Fields, fields_of, is_filled, is_text, list_in, without
from .chunks import Chunk, answer_with_choices, chunks, numbered_choices

Delta = dict[str, Any]

_IN_DELTAS_OF_THEIR_OWN = ("role", "content", "refusal", "function_call", "tool_calls")


def chat_chunks(body: bytes, include_usage: bool) -> list[Chunk]:
    """The chunks of a chat completion."""
    answer = answer_with_choices(body)
    told = [part for index, choice in numbered_choices(answer) for part in _choice_parts(index, choice)]
    return chunks(answer, "chat.completion.chunk", told, include_usage)


def _choice_parts(index: int, choice: Fields) -> list[dict[str, Any]]:
    """The chunks' parts of one choice.

    Unknown fields go into the first part, where openai-python's accumulator keeps them. Log probabilities go with their
    text, or into the last part if there is none.
    """
    deltas = list(_deltas(fields_of(choice.get("message", NULL))))
    parts: list[dict[str, Any]] = [
        {"index": index, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas
    ]
    parts[0] |= without(choice, ("index", "message", "logprobs", "finish_reason"))
    spoken = (number for number, delta in enumerate(deltas) if number and ("content" in delta or "refusal" in delta))
    parts[next(spoken, -1)]["logprobs"] = choice.get("logprobs")
    parts[-1]["finish_reason"] = choice.get("finish_reason")
    return parts


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
