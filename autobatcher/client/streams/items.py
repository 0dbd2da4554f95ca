"""The items of a response's output: their initial state by kind, and their events.

Source: the models of openai-python's `ResponseStreamEvent` and `ResponseOutputItem`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .answer import Fields, is_filled, is_text, list_in, text_in

Event = dict[str, Any]


def item_events(output_index: int, item: Fields) -> Iterator[Event]:
    """All events of one item, from `added` to `done`."""
    kind = text_in(item, "type")
    at = {"item_id": text_in(item, "id") or f"item_{output_index}", "output_index": output_index}
    yield {"type": "response.output_item.added", "output_index": output_index, "item": _begun(kind, item)}
    yield from _inner_events(kind, at, item)
    yield {"type": "response.output_item.done", "output_index": output_index, "item": item}


class _Tool(NamedTuple):
    """The events of a kind of call.

    Args:
        steps: its progress events, in order.
        text: the field that is sent in deltas.
        text_event: the name of the events of that field.
        fails: whether there is an event for its failure.
    """

    steps: tuple[str, ...] = ()
    text: str = ""
    text_event: str = ""
    fails: bool = False


_TOOLS = {
    "function_call": _Tool((), "arguments", "function_call_arguments"),
    "custom_tool_call": _Tool((), "input", "custom_tool_call_input"),
    "mcp_call": _Tool(("in_progress",), "arguments", "mcp_call_arguments", fails=True),
    "mcp_list_tools": _Tool(("in_progress",), fails=True),
    "code_interpreter_call": _Tool(("in_progress", "interpreting"), "code", "code_interpreter_call_code"),
    "file_search_call": _Tool(("in_progress", "searching")),
    "web_search_call": _Tool(("in_progress", "searching")),
    "image_generation_call": _Tool(("in_progress", "generating")),
}

_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "mcp_call": {"arguments": "", "output": None, "error": None},
    "mcp_list_tools": {"tools": [], "error": None},
    "code_interpreter_call": {"code": "", "outputs": None},
    "file_search_call": {"queries": [], "results": None},
    "image_generation_call": {"result": None},
}
"""The initial values, by kind, of fields that an item gets later."""


def _begun(kind: str, item: Fields) -> dict[str, Any]:
    """The item in its initial state. Fields that are not known to grow have their final values."""
    empty = _EMPTY.get(kind, {})
    if kind in ("message", "reasoning") or kind.endswith("_call"):
        empty = {**empty, "status": "in_progress"}
    return {**item, **{name: value for name, value in empty.items() if is_filled(item.get(name))}}


def _inner_events(kind: str, at: Event, item: Fields) -> Iterator[Event]:
    if kind == "message":
        yield from _content_events(at, item)
    elif kind == "reasoning":
        yield from _summary_events(at, item)
        yield from _content_events(at, item)
    elif kind in _TOOLS:
        yield from _tool_events(kind, _TOOLS[kind], at, item)


def _tool_events(kind: str, tool: _Tool, at: Event, item: Fields) -> Iterator[Event]:
    for step in tool.steps[:1]:
        yield {"type": f"response.{kind}.{step}", **at}
    yield from _tool_text_events(tool, at, item)
    for step in tool.steps[1:]:
        yield {"type": f"response.{kind}.{step}", **at}
    if tool.steps and (end := _end_of_call(tool, item)):
        yield {"type": f"response.{kind}.{end}", **at}


def _tool_text_events(tool: _Tool, at: Event, item: Fields) -> Iterator[Event]:
    if not tool.text or not is_text(item.get(tool.text)):
        return
    name = {"name": item["name"]} if tool.text_event == "function_call_arguments" and "name" in item else {}
    if is_filled(item[tool.text]):
        yield {"type": f"response.{tool.text_event}.delta", **at, "delta": item[tool.text]}
    yield {"type": f"response.{tool.text_event}.done", **at, tool.text: item[tool.text], **name}


def _end_of_call(tool: _Tool, item: Fields) -> str:
    """ "completed", "failed", or "" for an end without its own event."""
    if is_filled(item.get("error")) or text_in(item, "status") == "failed":
        return "failed" if tool.fails else ""
    return "completed" if text_in(item, "status") in ("completed", "") else ""


def _summary_events(at: Event, item: Fields) -> Iterator[Event]:
    for index, part in enumerate(list_in(item, "summary")):
        here = {**at, "summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
        yield from _text_events("reasoning_summary_text", here, part, "text")
        yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


def _content_events(at: Event, item: Fields) -> Iterator[Event]:
    for index, part in enumerate(list_in(item, "content")):
        here = {**at, "content_index": index}
        kind = text_in(part, "type")
        yield {"type": "response.content_part.added", **here, "part": _begun_part(kind, part)}
        if kind in _PART_TEXTS:
            yield from _text_events(kind, here, part, _PART_TEXTS[kind])
        yield {"type": "response.content_part.done", **here, "part": part}


_PART_TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
"""Kinds of parts, and the field that is sent in deltas."""


def _begun_part(kind: str, part: Fields) -> dict[str, Any]:
    if kind not in _PART_TEXTS:
        return dict(part)
    begun = {**part, _PART_TEXTS[kind]: ""}
    if kind == "output_text":
        begun |= {"annotations": [], "logprobs": []}
    return begun


def _text_events(name: str, here: Event, part: Fields, field: str) -> Iterator[Event]:
    """One delta with the whole text, its annotations, and its end."""
    is_output = name == "output_text"
    extra = {"logprobs": part["logprobs"] if is_filled(part.get("logprobs")) else []} if is_output else {}
    if is_filled(part.get(field)):
        yield {"type": f"response.{name}.delta", **here, "delta": part[field], **extra}
    for index, annotation in enumerate(list_in(part, "annotations") if is_output else ()):
        at = {**here, "annotation_index": index, "annotation": annotation}
        yield {"type": "response.output_text.annotation.added", **at}
    yield {"type": f"response.{name}.done", **here, field: part.get(field, ""), **extra}
