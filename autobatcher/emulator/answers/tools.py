"""The tool call that a request forces. An optional tool is never called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ..wire import RefusedError
from .json_schema import example


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the tool `name`. `kind` is "function", with JSON arguments, or "custom", with any text."""

    kind: str
    name: str
    arguments: str
    named: bool
    """Whether the request named this tool, instead of requiring any."""


def forced_call(request: dict[str, Any], text: str) -> Call | None:
    """The forced tool call, from `tools` and `tool_choice` of chat completions or responses.

    Raises `RefusedError` (400) if the choice names a tool that is not there.
    """
    choice = request.get("tool_choice")
    if choice == "required":
        return _call(_callable_tools(request.get("tools")), None, text)
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "allowed_tools":
        return _allowed_call(choice, request.get("tools"), text)
    if choice.get("type") in ("function", "custom"):
        name = (choice.get(choice["type"]) or choice).get("name")
        return _call(_callable_tools(request.get("tools")), name, text)
    return None


def _allowed_call(choice: dict[str, Any], tools: Any, text: str) -> Call | None:
    allowed = choice.get("allowed_tools") or choice
    if allowed.get("mode") != "required":
        return None
    names = {_definition(tool).get("name") for tool in allowed.get("tools") or []}
    return _call([tool for tool in _callable_tools(tools) if _definition(tool).get("name") in names], None, text)


def _callable_tools(tools: Any) -> list[dict[str, Any]]:
    return [tool for tool in tools or [] if isinstance(tool, dict) and tool.get("type") in ("function", "custom")]


def _definition(tool: dict[str, Any]) -> dict[str, Any]:
    """The part with the name: nested in chat completions, the tool itself in responses."""
    nested = tool.get(tool.get("type", ""))
    return nested if isinstance(nested, dict) else tool


def _call(tools: list[dict[str, Any]], name: str | None, text: str) -> Call:
    for tool in tools:
        definition = _definition(tool)
        if name is None or definition.get("name") == name:
            return Call(tool["type"], str(definition.get("name")), _arguments(tool, text), name is not None)
    raise RefusedError(400, f"Tool choice {name or 'required'!r} is not among the 'tools'.", param="tool_choice")


def _arguments(tool: dict[str, Any], text: str) -> str:
    if tool["type"] == "custom":
        return text
    schema = _definition(tool).get("parameters") or {"type": "object"}
    return msgspec.json.encode(example(schema, text)).decode()
