"""Answers to POST /v1/responses."""

from __future__ import annotations

from typing import Any

import msgspec

from .json_schema import example
from .logprobs import token_logprobs
from .prompt import Prompt, count_prompt_tokens, count_tokens, cut_to_tokens, last_user_text
from .tools import Call, forced_call

_DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def response(prompt: Prompt) -> dict[str, Any]:
    """A Response object that repeats the parameters of the request, as OpenAI's does."""
    given = prompt.required("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    text = last_user_text(messages, "input")
    call = forced_call(prompt.request, text)
    spoken, is_cut = _content(prompt.request, text) if call is None else (call.arguments, False)
    said = count_tokens(spoken)
    thought = prompt.metering.reasoning(said, prompt.request.get("max_output_tokens"))
    item = _message(prompt, spoken) if call is None else _function_call(prompt, call)
    return {
        "id": f"resp_{prompt.digest}",
        "object": "response",
        "created_at": prompt.created,
        "status": "incomplete" if is_cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "model": prompt.model,
        "output": [item],
        **{name: _repeated(prompt.request, name, default) for name, default in _DEFAULTS.items()},
        "tools": [_full_tool(tool) for tool in prompt.request.get("tools") or []],
        "service_tier": prompt.tier,
        "usage": _usage(prompt, count_prompt_tokens(messages), thought + said, thought),
    }


def _repeated(request: dict[str, Any], name: str, default: Any) -> Any:
    value = request.get(name)
    return default if value is None else value


def _content(request: dict[str, Any], text: str) -> tuple[str, bool]:
    """The text of the answer, and whether it was cut."""
    wanted = (request.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_object":
        return msgspec.json.encode({"echo": text}).decode(), False
    if wanted.get("type") == "json_schema":
        return msgspec.json.encode(example(wanted.get("schema", True), text)).decode(), False
    return cut_to_tokens(text, request.get("max_output_tokens"))


def _message(prompt: Prompt, text: str) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if "message.output_text.logprobs" in (prompt.request.get("include") or []):
        content["logprobs"] = token_logprobs(text, int(prompt.request.get("top_logprobs") or 0))
    return {
        "id": f"msg_{prompt.digest}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }


def _function_call(prompt: Prompt, call: Call) -> dict[str, Any]:
    item = {"id": f"fc_{prompt.digest}", "call_id": f"call_{prompt.digest}", "name": call.name}
    if call.kind == "custom":
        return {**item, "type": "custom_tool_call", "input": call.arguments}
    return {**item, "type": "function_call", "arguments": call.arguments, "status": "completed"}


def _full_tool(tool: Any) -> Any:
    """A function tool with the fields that are optional in a request and required in a response."""
    if isinstance(tool, dict) and tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": True, **tool}
    return tool


def _usage(prompt: Prompt, input_tokens: int, output_tokens: int, reasoning_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": prompt.metering.cached(input_tokens),
            "cache_write_tokens": prompt.metering.into_cache(input_tokens),
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }
